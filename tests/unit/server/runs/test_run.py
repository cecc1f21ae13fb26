# SPDX-License-Identifier: LGPL-2.1-or-later
"""The phases of a run: every change that the table has, and every one that it has not."""

from __future__ import annotations

from itertools import product

import pytest

from hookd.server.runs.run import TRANSITIONS, IllegalTransition, Run, RunPhase
from tests.unit.making import waiting_run

P = RunPhase

MEANING = {  # has_slot, queued, known, over
    P.NEW: (False, False, False, False),
    P.HELD: (False, True, True, False),
    P.DELAYED: (False, True, True, False),
    P.BLOCKED: (False, True, True, False),
    P.READY: (False, True, True, False),
    P.CLAIMED: (True, False, True, False),
    P.HANDED: (True, False, True, False),
    P.RUNNING: (True, False, True, False),
    P.DROPPED: (False, False, True, True),
    P.ENDING: (True, False, True, True),
    P.ENDED: (False, False, False, True),
}

AFTER_END = {  # the phase that `end` leads to
    P.NEW: P.DROPPED,
    P.HELD: P.DROPPED,
    P.DELAYED: P.DROPPED,
    P.BLOCKED: P.DROPPED,
    P.READY: P.DROPPED,
    P.CLAIMED: P.ENDING,
    P.HANDED: P.ENDING,
    P.RUNNING: P.ENDING,
    P.DROPPED: P.DROPPED,
    P.ENDING: P.ENDING,
}


def run_in(phase: RunPhase) -> Run:
    return waiting_run(1, "h", _phase=phase)


@pytest.mark.parametrize(("before", "after"), list(product(P, P)))
def test_every_change_of_phase(before: RunPhase, after: RunPhase) -> None:
    run = run_in(before)
    if after in TRANSITIONS[before]:
        run.enter(after)
        assert run.phase is after
    else:
        with pytest.raises(IllegalTransition, match=f"run 1 is {before}: it cannot be {after}"):
            run.enter(after)
        assert run.phase is before


@pytest.mark.parametrize("phase", P)
def test_what_a_phase_means(phase: RunPhase) -> None:
    run = run_in(phase)
    assert (run.has_slot, run.queued, run.known, run.over) == MEANING[phase]


@pytest.mark.parametrize("phase", P)
def test_the_end_of_a_run_may_be_noted_again_until_it_is_on_disk(phase: RunPhase) -> None:
    run = run_in(phase)
    if phase is P.ENDED:
        with pytest.raises(IllegalTransition):
            run.end()
    else:
        run.end()
        assert run.phase is AFTER_END[phase]


def test_every_phase_is_reached_and_leads_to_the_end() -> None:
    reached, open_phases = {P.NEW}, [P.NEW]
    while open_phases:
        following = TRANSITIONS[open_phases.pop()] - reached
        reached |= following
        open_phases += following
    assert reached == set(P) == TRANSITIONS.keys()
    assert [phase for phase in P if not TRANSITIONS[phase]] == [P.ENDED]


@pytest.mark.parametrize("phase", [P.RUNNING, P.ENDING, P.DROPPED, P.ENDED])
def test_no_run_starts_twice(phase: RunPhase) -> None:
    """From a phase that follows the start, no way leads back to one that may start."""
    later, open_phases = {phase}, [phase]
    while open_phases:
        following = TRANSITIONS[open_phases.pop()] - later
        later |= following
        open_phases += following
    assert not later & {P.HELD, P.DELAYED, P.BLOCKED, P.READY, P.CLAIMED, P.HANDED}
