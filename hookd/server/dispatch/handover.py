# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs on their way to the runner: on disk as handed over first, sent then.

Who has a slot is decided in the database's transaction, for the runs of a new event and for those
that have waited alike, so that the limits hold whoever comes first. What cannot be sent after all
is written back.
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

RETRY_SEC = 1.0  # between attempts to hand runs over while the disk fails
MAX_FAULTS = 3  # errors of hookd's own on a run's way to the runner, until it is not started


class Handover:
    """Sends what the scheduler has given a slot; `dropped` is told what will not start.

    `instance` is the runner that is connected; `ready`, whether it starts what it is sent: it is
    alive and has read the same configuration.
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
        """Return what a new event's runs may take at once; None while nothing can start.

        What has waited for a slot takes it first.
        """
        if self._soon.when is not None:
            self._soon.cancel()
            faults.guarded("starts", self._claim, lambda _: self.kick())
        return self._slots()

    def kick(self) -> None:
        """Give free slots away soon: once, however often this is called until then."""
        self._soon.soon()

    def send(self, starts: list[Start], instance: str | None) -> None:
        """Send runs to the runner that they were handed to; take them back where it is gone."""
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
        """Have runs wait again that were given to a runner on disk and never came to it."""
        if runs:
            run_ids = [run.run_id for run in runs]
            # Where this fails, the next attempt to hand them over comes here again.
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
        """Return how many runs of the same hook may have a slot."""
        hook = self._config.hooks.get(run.hook)
        return hook.run.max_running if hook is not None else 1

    def _written(self, runs: list[Run], instance: str, outcome: HandedOver | HookdError) -> None:
        """Send what is on disk as handed over; what had no slot left waits again."""
        runs = [run for run in runs if not run.over]  # interrupted or set aside meanwhile
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
            # Handed over before, by a commit that failed and was on disk all the same.
            self.take_back([run for run in runs if run.phase is RunPhase.CLAIMED])
            self.send(outcome.starts, instance)

    def _fault(self, runs: list[Run], error: Exception) -> None:
        """Have runs wait again whose way to the runner met an error of hookd's own.

        Each goes alone then, so that it cannot hold up others; it is ended where that is no help.
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
        """End those that were cancelled before the runner ever saw them."""
        self._results.save(
            [
                self._results.unstarted(run, Result.CANCELLED, run.cancel_reason)
                for run in runs
                if run.cancel_reason is not None and not run.over
            ]
        )


def _hand_over(claims: list[Claim], slots: Slots, db: Database) -> HandedOver:
    return db.runs.hand_over(claims, slots)
