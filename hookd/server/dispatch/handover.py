# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hands runs over to the runner: first they are on disk as handed over, then they are sent.

The database's transaction decides which run gets a slot, both for the runs of a new event and for
those that have waited, so the limits hold in whatever order these come. A run that cannot be sent
after all is written back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from hookd.config.parse import Config
from hookd.errors import HookdError, InternalError
from hookd.link import Start
from hookd.model import Result
from hookd.server.dispatch.results import Results
from hookd.server.runs.registry import RunRegistry
from hookd.server.runs.run import Run, RunPhase
from hookd.server.runs.scheduler import Drop, Scheduler
from hookd.server.storage.database import Database
from hookd.server.storage.store import Store
from hookd.server.storage.values import Claim, HandedOver, Slots
from hookd.server.transport.runner_link import RunnerLink
from hookd.system import faults

RETRY_SEC = 1.0  # between two attempts while the disk fails
MAX_FAULTS = 3  # errors of hookd's own on the way of one run to the runner, before it is given up


class Handover:
    """Sends the runs that have a slot. `dropped` is called with the runs that will not start.

    `instance` is the connected runner, None where there is none. `ready` tells whether it starts
    what it is sent: it is alive and has read the same configuration. `stopping`: hookd stops.
    """

    def __init__(
        self,
        config: Config,
        scheduler: Scheduler,
        registry: RunRegistry,
        store: Store,
        link: RunnerLink,
        results: Results,
        dropped: Callable[[Iterable[Drop]], None],
    ) -> None:
        self.instance: str | None = None
        self.ready = False
        self.stopping = False
        self._config = config
        self._scheduler = scheduler
        self._registry = registry
        self._store = store
        self._link = link
        self._results = results
        self._dropped = dropped
        self._soon = faults.Timer(self._claim)
        self._later = faults.Timer(self.kick)

    def configure(self, config: Config) -> None:
        """Take a new configuration."""
        self._config = config

    def slots(self) -> Slots | None:
        """Return the slots that a new event's runs may take at once; None while nothing can start.

        Runs that have waited for a slot are served first.
        """
        if self._soon.when is not None:
            self._soon.cancel()
            faults.guarded("starts", self._claim, lambda _: self.kick())
        return self._slots()

    def kick(self) -> None:
        """Give free slots to waiting runs in the next turn of the loop."""
        self._soon.soon()

    def send(self, starts: list[Start], instance: str | None) -> None:
        """Send runs to the runner they were handed over to; take them back if it is gone."""
        runs = [run for start in starts if (run := self._registry.get(start.run_id)) is not None]
        handed = {run.run_id: run for run in runs if run.phase is RunPhase.HANDED}
        if self._slots() is None or self.instance != instance:
            self.take_back(list(handed.values()))
            return
        self._end_cancelled(list(handed.values()))
        for start in starts:
            run = handed.get(start.run_id)
            if run is not None and not run.over:
                faults.guarded(
                    "a start", partial(self._link.send, start), partial(self._fault, [run])
                )

    def take_back(self, runs: list[Run]) -> None:
        """Put runs back that are on disk as handed over and never reached the runner."""
        if runs:
            run_ids = [run.run_id for run in runs]
            # If this fails, the next attempt to hand them over comes here again.
            self._store.submit(lambda db: db.runs.take_back(run_ids), lambda _: None)
            self._requeue(runs)
            self.kick()

    def _slots(self) -> Slots | None:
        if self.instance is None or not self.ready or self.stopping:
            return None
        return Slots(self.instance, self._config.daemon.max_running)

    def _claim(self) -> None:
        slots = self._slots()
        if slots is None:
            return
        claimed, drops = self._scheduler.claim()
        if drops:
            faults.guarded("runs that do not start", partial(self._dropped, drops))
        alone = [[run] for run in claimed if run.faults]
        for group in (*alone, [run for run in claimed if not run.faults]):
            if group:
                claims = [Claim(run.run_id, run.hook, self._most(run)) for run in group]
                self._store.submit(
                    partial(_hand_over, claims, slots),
                    partial(self._written, group, slots.runner),
                    partial(self._fault, group),
                )

    def _most(self, run: Run) -> int:
        """Return how many runs of this run's hook may have a slot."""
        hook = self._config.hooks.get(run.hook)
        return hook.run.max_running if hook is not None else 1

    def _written(self, runs: list[Run], instance: str, outcome: HandedOver | HookdError) -> None:
        """Send the runs that are on disk as handed over; those without a slot wait again."""
        runs = [run for run in runs if not run.over]  # it was interrupted or set aside meanwhile
        if isinstance(outcome, InternalError):
            self._fault(runs, outcome)
        elif isinstance(outcome, HookdError):
            self._requeue(runs)
            self._later.within(RETRY_SEC)
        else:
            given = {start.run_id for start in outcome.starts}
            for run in runs:
                if run.run_id in given:
                    run.runner = instance
                    run.enter(RunPhase.HANDED)
            self._requeue([run for run in runs if run.run_id in outcome.without_slot])
            # Handed over before, by a commit that was reported as failed but is on disk.
            self.take_back([run for run in runs if run.phase is RunPhase.CLAIMED])
            self.send(outcome.starts, instance)

    def _fault(self, runs: list[Run], error: Exception) -> None:
        """Put runs back after an error of hookd's own on their way to the runner.

        Each of them is then handed over alone, so that it cannot hold up the others, and ended
        after MAX_FAULTS errors.
        """
        for run in runs:
            run.faults += 1
        if len(runs) == 1 and runs[0].faults > MAX_FAULTS and not runs[0].over:
            reason = faults.words(error)
            self._results.save([self._results.unstarted(runs[0], Result.SPAWN_FAILED, reason)])
        self.take_back([run for run in runs if run.phase in (RunPhase.CLAIMED, RunPhase.HANDED)])

    def _requeue(self, runs: list[Run]) -> None:
        for run in runs:
            run.runner = None
        self._end_cancelled(runs)
        self._scheduler.put_back(run for run in runs if not run.over)

    def _end_cancelled(self, runs: list[Run]) -> None:
        """End the runs that were cancelled before they reached the runner."""
        self._results.save(
            [
                self._results.unstarted(run, Result.CANCELLED, run.cancel_reason)
                for run in runs
                if run.cancel_reason is not None and not run.over
            ]
        )


def _hand_over(claims: list[Claim], slots: Slots, db: Database) -> HandedOver:
    return db.runs.hand_over(claims, slots)
