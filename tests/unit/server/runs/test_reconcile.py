# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done with each run when the runner says what it has."""

from __future__ import annotations

import pytest

from hookd.link import Running, Welcome
from hookd.model import HookRun, Phase, RunState
from hookd.server.runs.reconcile import (
    FORGOTTEN,
    GONE,
    MOST_PARTS,
    OTHER_RUN,
    WelcomeAssembly,
    reconcile,
)
from hookd.server.runs.registry import RunRegistry
from hookd.server.runs.run import Run, RunPhase
from tests.unit.making import configuration

P = RunPhase


def welcome(*running: int, instance: str = "one", more: bool = False) -> Welcome:
    return Welcome(instance, "", [], [], [Running(run_id, 5) for run_id in running], [], more=more)


def runs(*phases: tuple[RunPhase, str | None]) -> tuple[RunRegistry, list[Run]]:
    """Return runs from 1 on, each in a phase and handed over to an instance of the runner."""
    registry = RunRegistry(configuration(h=""), lambda _job_id, _run: None)
    made = []
    for run_id, (phase, runner) in enumerate(phases, 1):
        info = HookRun(
            run_id=run_id, hook="h", phase=Phase.START, attempt=1, state=RunState.WAITING
        )
        run = registry.add(info, run_id, run_id, "", decided=False, test=False)
        run._phase = phase
        run.runner = runner
        made.append(run)
    return registry, made


def test_a_run_that_the_runner_goes_on_with_is_attached() -> None:
    registry, made = runs((P.HANDED, "one"), (P.RUNNING, "one"))
    found = reconcile(registry, welcome(1, 2))
    assert (found.attached, found.never_arrived, found.interrupted) == (made, [], [])


def test_a_run_that_never_arrived_may_start_and_one_that_had_started_may_not() -> None:
    registry, (handed, running) = runs((P.HANDED, "one"), (P.RUNNING, "one"))
    found = reconcile(registry, welcome())
    assert found.never_arrived == [handed]
    assert found.interrupted == [(running, FORGOTTEN)]


def test_a_run_of_a_runner_that_is_gone_is_interrupted() -> None:
    registry, (handed, running) = runs((P.HANDED, "old"), (P.RUNNING, "old"))
    found = reconcile(registry, welcome())
    assert found.never_arrived == []
    assert found.interrupted == [(handed, GONE), (running, GONE)]


def test_a_number_that_the_runner_uses_for_another_run_starts_nothing() -> None:
    registry, (waiting, handed) = runs((P.READY, None), (P.HANDED, "old"))
    found = reconcile(registry, welcome(1, 2, 9))
    assert found.interrupted == [(waiting, OTHER_RUN), (handed, OTHER_RUN)]
    assert found.unknown == [9]


@pytest.mark.parametrize("phase", [P.DROPPED, P.ENDING])
@pytest.mark.parametrize("runner", [None, "one", "old"])
def test_a_run_whose_end_is_being_written_is_left_alone(
    phase: RunPhase, runner: str | None
) -> None:
    registry, _ = runs((phase, runner))
    found = reconcile(registry, welcome())
    assert not found.attached + found.never_arrived + found.interrupted + found.unknown


def test_a_welcome_in_parts_is_put_together() -> None:
    assembly = WelcomeAssembly()
    assert assembly.add(welcome(1, more=True)) is None
    assert assembly.add(welcome(2, more=True)) is None
    whole = assembly.add(welcome(3))
    assert whole == welcome(1, 2, 3)
    assert assembly.add(welcome(4)) == welcome(4)


def test_parts_of_another_instance_or_of_a_broken_link_are_dropped() -> None:
    assembly = WelcomeAssembly()
    assembly.add(welcome(1, more=True))
    assert assembly.add(welcome(2, instance="two")) == welcome(2, instance="two")
    assembly.add(welcome(1, more=True))
    assembly.clear()
    assert assembly.add(welcome(3)) == welcome(3)


def test_a_welcome_that_does_not_end_is_refused() -> None:
    assembly = WelcomeAssembly()
    for _ in range(MOST_PARTS):
        assert assembly.add(welcome(1, more=True)) is None
    with pytest.raises(ValueError, match=f"more than {MOST_PARTS} parts"):
        assembly.add(welcome(1, more=True))
    assert assembly.add(welcome(2)) == welcome(2)
