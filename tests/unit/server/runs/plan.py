# SPDX-License-Identifier: LGPL-2.1-or-later
"""A scheduler for tests, and short ways to feed it and to read what it decides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hookd.config.parse import Config
from hookd.server.runs.run import Run, RunPhase
from hookd.server.runs.scheduler import Decision, Drop, Scheduler, Stop
from tests.unit.making import configuration, waiting_run


class Plan(Scheduler):
    """A scheduler whose runs can be ended by their number."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.open: dict[int, Run] = {}

    def add(self, runs: Iterable[Run], now: float) -> list[Decision]:
        runs = list(runs)
        self.open |= {run.run_id: run for run in runs}
        return super().add(runs, now)

    def adopt(self, run: Run) -> None:
        self.open[run.run_id] = run
        super().adopt(run)

    def finish(self, run_id: int, now: float, retry: Run | None = None) -> list[Decision]:
        run = self.open.pop(run_id)
        run.end()
        decisions = self.ended(run, now, retry)
        run.enter(RunPhase.ENDED)
        return decisions


def schedule(settings: str = "", **hooks: str) -> Plan:
    return Plan(configuration(settings, **(hooks or {"h": ""})))


def waiting(run_id: int, hook: str = "h", **values: Any) -> Run:
    """Return a run at the start of a job of its own, unless told otherwise."""
    return waiting_run(run_id, hook, **values)


def begun(plan: Scheduler) -> list[int]:
    runs, drops = plan.claim()
    assert drops == []
    return [run.run_id for run in runs]


def reasons(decisions: Sequence[Drop | Stop]) -> list[tuple[int, str]]:
    """Return decisions as run and sentence."""
    return [(d.run.run_id, d.reason) for d in decisions]
