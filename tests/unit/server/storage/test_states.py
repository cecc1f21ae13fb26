# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tables of states, attempts and their waits, and what a gate's end means."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookd.config.parse import Hook
from hookd.model import FAILURES, JobState, Result
from hookd.server.runs.policy import MAX_RERUNS, backoff, next_attempt, refusal, time_to_decide
from hookd.server.storage.states import (
    JOB_STATES,
    RUN_STATES,
    Change,
    IllegalChange,
    JobChange,
    Knowledge,
    Recovery,
    StoredState,
    after,
    before,
    check_repeat,
    recover,
)
from tests.unit.making import configuration, receipt

RUNNING, FINISHED, UNKNOWN = Knowledge.RUNNING, Knowledge.FINISHED, Knowledge.UNKNOWN
WAITING, HANDED, ENDED = StoredState.WAITING, StoredState.HANDED, StoredState.ENDED


def hook(text: str = "") -> Hook:
    return configuration(h=text).hooks["h"]


def test_the_changes_of_a_run_and_no_other() -> None:
    assert {stored: row.changes for stored, row in RUN_STATES.items()} == {
        WAITING: {Change.HAND_OVER: HANDED, Change.END: ENDED},
        HANDED: {Change.TAKE_BACK: WAITING, Change.END: ENDED},
        ENDED: {},
    }
    assert [before(change) for change in Change] == [[WAITING], [HANDED], [WAITING, HANDED]]


@pytest.mark.parametrize("change", Change)
def test_a_change_leads_to_one_state_and_repeats_there_alone(change: Change) -> None:
    assert {RUN_STATES[stored].changes[change] for stored in before(change)} == {after(change)}
    check_repeat(7, after(change), change)
    for stored in {*StoredState, None} - {after(change)}:
        found = "not in the database" if stored is None else stored.value
        with pytest.raises(IllegalChange, match=f"^run 7 is {found}: cannot {change}$"):
            check_repeat(7, stored, change)


def test_the_changes_of_a_job_and_no_other() -> None:
    end, refuse = JobChange.END, JobChange.REFUSE
    assert {
        JobState.RUNNING: {end: JobState.ENDED, refuse: JobState.REFUSED},
        JobState.ENDED: {refuse: JobState.ENDED},
        JobState.REFUSED: {refuse: JobState.REFUSED},
    } == JOB_STATES


def test_recovery_is_defined_for_all_that_can_occur_and_for_nothing_else() -> None:
    expected = {
        (WAITING, False, UNKNOWN): Recovery.QUEUE,
        (WAITING, False, RUNNING): Recovery.INTERRUPT,
        (WAITING, False, FINISHED): Recovery.INTERRUPT,
        (HANDED, True, RUNNING): Recovery.ATTACH,
        (HANDED, True, FINISHED): Recovery.TAKE_OVER,
        (HANDED, True, UNKNOWN): Recovery.HAND_OVER_AGAIN,
        (HANDED, False, UNKNOWN): Recovery.INTERRUPT,
        (HANDED, False, FINISHED): Recovery.TAKE_OVER,
        (HANDED, False, RUNNING): Recovery.INTERRUPT,
        (ENDED, False, FINISHED): Recovery.NOTHING,
        (ENDED, False, RUNNING): Recovery.NOTHING,
    }
    for found in itertools.product(StoredState, (True, False), Knowledge):
        if found in expected:
            assert recover(*found) is expected[found]
        else:
            with pytest.raises(KeyError):
                recover(*found)


@pytest.mark.parametrize("result", Result)
def test_only_failures_are_tried_again(result: Result) -> None:
    thrice = hook("retry.attempts = 3")
    again = [next_attempt(thrice, attempt, result) for attempt in (1, 2, 3, 4)]
    assert again == [result in FAILURES, result in FAILURES, False, False]
    assert not next_attempt(hook(), 1, result)
    assert not next_attempt(None, 1, result)


def test_which_results_are_failures() -> None:
    assert {str(result) for result in FAILURES} == {
        "failed", "signalled", "timeout", "limit", "spawn-failed",
    }  # fmt: skip


def test_an_interrupted_run_is_run_again_only_on_request_and_not_for_ever() -> None:
    assert not next_attempt(hook("retry.attempts = 9"), 1, Result.INTERRUPTED)
    for attempts in (1, 3):
        rerun = hook(f'run.on_crash = "rerun"\nretry.attempts = {attempts}')
        last = attempts + MAX_RERUNS
        assert all(next_attempt(rerun, n, Result.INTERRUPTED) for n in range(1, last))
        assert not next_attempt(rerun, last, Result.INTERRUPTED)
        assert not next_attempt(rerun, attempts, Result.FAILED)


def test_the_wait_doubles_up_to_its_bound() -> None:
    waits = hook('[retry]\nbackoff = "10s"\nmax_backoff = "100s"')
    assert [backoff(waits, n, 1.0) for n in (1, 2, 3, 4, 5, 6)] == [10, 20, 40, 80, 100, 100]
    assert [backoff(waits, n, 0.0) for n in (1, 2, 3, 4, 5, 6)] == [5, 10, 20, 40, 50, 50]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_is_always_finite_and_spread_over_its_upper_half(
    attempt: int, chance: float
) -> None:
    waits = hook('[retry]\nbackoff = "1ms"\nmax_backoff = "1h"')
    whole = backoff(waits, attempt, 1.0)
    assert whole / 2 <= backoff(waits, attempt, chance) <= whole <= 3600


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ("", 610),
        ('limits.timeout = "1s"\nlimits.kill_grace = "100ms"', 1.1),
        ('limits.timeout = "5s"\nlimits.kill_grace = "1s"\nretry.attempts = 2', 22),
        (
            'limits.timeout = "5s"\nlimits.kill_grace = "1s"\n'
            '[retry]\nattempts = 4\nbackoff = "10s"\nmax_backoff = "15s"',
            24 + 10 + 15 + 15,
        ),
        ('run.on_crash = "rerun"', 610),  # a rerun comes out of the same time
    ],
)
def test_how_long_a_gate_has_to_decide(options: str, seconds: float) -> None:
    assert time_to_decide(hook(f'kind = "gate"\n{options}')) == pytest.approx(seconds)


GATE, LENIENT = hook('kind = "gate"'), hook('kind = "gate"\non_error = "allow"')


@pytest.mark.parametrize(
    ("result", "status", "deny", "allow"),
    [
        (Result.SUCCESS, 0, None, None),
        (Result.FAILED, 1, *["gate g ended with exit status 1"] * 2),
        (Result.FAILED, 255, *["gate g ended with exit status 255"] * 2),
        (Result.SKIPPED, 75, *["gate g ended with exit status 75"] * 2),
        (Result.SKIPPED, None, "gate g could not decide: skipped", None),
        (Result.SIGNALLED, None, "gate g could not decide: signalled", None),
        (Result.TIMEOUT, None, "gate g could not decide: timeout", None),
        (Result.TIMEOUT, 0, "gate g could not decide: timeout", None),
        (Result.LIMIT, None, "gate g could not decide: limit", None),
        (Result.LIMIT, 1, "gate g could not decide: limit", None),
        (Result.SPAWN_FAILED, None, "gate g could not decide: spawn-failed", None),
        (Result.CANCELLED, None, "gate g could not decide: cancelled", None),
        (Result.INTERRUPTED, None, "gate g could not decide: interrupted", None),
    ],
)
def test_what_a_gates_end_means(
    result: Result, status: int | None, deny: str | None, allow: str | None
) -> None:
    ended = receipt(result, exit_status=status)
    assert refusal(GATE, "g", ended) == deny
    assert refusal(LENIENT, "g", ended) == allow
    assert refusal(None, "g", ended) == deny  # configured no longer: as carefully as by default


def test_the_reason_is_the_last_line_of_a_gate_that_decided() -> None:
    refused = receipt(Result.FAILED, exit_status=1, last_line="maintenance until 6:00")
    assert refusal(GATE, "g", refused) == "maintenance until 6:00"
    late = receipt(Result.TIMEOUT, last_line="still thinking", reason="after 10 s")
    assert refusal(GATE, "g", late) == "gate g could not decide: timeout (after 10 s)"
