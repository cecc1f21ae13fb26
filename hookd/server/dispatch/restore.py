# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs that are taken over from the database: at a start, and after a fault of the disk.

Fills the registry and the scheduler. Sends nothing to the runner and writes nothing to the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from hookd.config.parse import Config
from hookd.server.dispatch.gates import OVERDUE, Gates
from hookd.server.runs.registry import RunRegistry
from hookd.server.runs.run import Run
from hookd.server.runs.scheduler import REFUSED, Decision, Scheduler
from hookd.server.storage.rows import age_of
from hookd.server.storage.states import StoredState
from hookd.server.storage.values import Now, OpenRun
from hookd.system import faults
from hookd.system.journal import Journal
from hookd.system.records import WORK_RESTORED

HANDED_GATE_SEC = 1.0  # at least, for a gate that was handed over: its result may be waiting


class Restored(msgspec.Struct):
    """What was taken over: the decisions that follow, and how many runs were handed over."""

    decisions: list[Decision] = []
    handed: int = 0


class RunRestorer:
    """Takes over runs from the database. `set_aside` is called for a run that cannot be."""

    def __init__(
        self,
        config: Config,
        scheduler: Scheduler,
        registry: RunRegistry,
        gates: Gates,
        journal: Journal,
        now: Callable[[], Now],
        set_aside: Callable[[int, Exception], None],
    ) -> None:
        self._config = config
        self._scheduler = scheduler
        self._registry = registry
        self._gates = gates
        self._journal = journal
        self._now = now
        self._set_aside = set_aside

    def configure(self, config: Config) -> None:
        """Take a new configuration: it holds for runs that are taken over from now on."""
        self._config = config

    def restore(self, runs: Sequence[OpenRun]) -> Restored:
        """Take over every run that is not known yet.

        What an earlier instance had decided and had not yet written is decided again.
        """
        found: list[tuple[OpenRun, Run]] = []
        for one in runs:
            if not self._registry.known(one.run.run_id):
                faults.guarded(
                    "a run from the database", partial(self._take, one, found),
                    partial(self._set_aside, one.run.run_id),
                )  # fmt: skip
        if not found:
            return Restored()
        waiting = [(one, run) for one, run in found if one.stored is StoredState.WAITING]
        scheduler = self._scheduler
        decisions = scheduler.add([run for _, run in waiting], time.monotonic())
        decisions += scheduler.obsolete([run for one, run in waiting if one.obsolete])
        decisions += scheduler.cancel([run for one, run in waiting if one.refused], REFUSED)
        decisions += scheduler.cancel([run for one, run in found if one.overdue], OVERDUE)
        handed = len(found) - len(waiting)
        text = f"{len(found)} runs of earlier found: {len(waiting)} wait, {handed} were started"
        self._journal.send(WORK_RESTORED, detail=text)
        return Restored(decisions, handed)

    def _take(self, stored: OpenRun, found: list[tuple[OpenRun, Run]]) -> None:
        """Take over one run; one that was handed over keeps its slot and its runner."""
        half_known = self._registry.get(stored.run.run_id)
        if half_known is not None:  # an error came before the scheduler had it
            self._registry.forget(half_known)
        decided = stored.replay or stored.overdue
        run = self._registry.add(
            stored.run, stored.job, stored.job_id, stored.overlap_key, decided, stored.test
        )
        run.overdue = stored.overdue
        handed = stored.stored is StoredState.HANDED
        age = age_of(stored.since, self._now()) / 1e6
        least = HANDED_GATE_SEC if handed else 0.0
        self._gates.watch(run, time.monotonic() - age, least=least)
        if handed:
            run.runner = stored.runner
            self._scheduler.adopt(run)
        elif stored.due_usec is not None:
            run.due = self._due(run, stored.due_usec)
        found.append((stored, run))

    def _due(self, run: Run, due_usec: int) -> float:
        """Return when a run may start: at most `max_backoff` from now, whatever the clock says."""
        hook = self._config.hooks.get(run.hook)
        wait = max(0.0, (due_usec - self._now().usec) / 1e6)
        most = hook.retry.max_backoff if hook is not None else 0.0
        return time.monotonic() + min(wait, most)
