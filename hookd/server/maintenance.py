# SPDX-License-Identifier: LGPL-2.1-or-later
"""Periodic work: ends overdue and abandoned jobs as lost, and deletes old history."""

from __future__ import annotations

import asyncio
import math

from hookd.errors import HookdError
from hookd.server.dispatch.intake import Intake, lose
from hookd.server.dispatch.services import Services
from hookd.server.storage.database import Database
from hookd.server.storage.database_file import quick_check
from hookd.server.storage.values import Now, StoredEvent
from hookd.system import faults
from hookd.system.records import STORAGE_DAMAGED

LOOK_EVERY_SEC = (
    60.0  # at most, between two checks: jobs age while a machine sleeps, but timers do not run
)
LOSE_STEP = 100  # jobs ended as lost in one transaction
PRUNE_EVERY_SEC = 3600.0
PRUNE_PAUSE_SEC = 0.05  # between two steps, so that requests are served first
AGAIN_SEC = 1.0  # after a disk error


class Maintenance:
    """The periodic work of a server."""

    def __init__(self, services: Services, intake: Intake, problems: dict[str, str]) -> None:
        self._problems = problems
        self._services = services
        self._intake = intake
        self._lost_timer = faults.Timer(self._look)
        self._tie_timer = faults.Timer(self._lose_tied)
        self._tied: set[int] = set()  # open jobs whose connection has ended
        self._pruner: asyncio.Task[None] | None = None
        self._check: asyncio.Task[None] | None = None
        self._began = services.now()

    def start(self) -> None:
        """Begin to check for lost jobs, old history and damage of the database."""
        self.job_started()
        self._pruner = faults.keep("pruning", self._prune)
        self._check = faults.keep("the check of the database", self._check_database)

    def configure(self) -> None:
        """Use the times of the current configuration."""
        self._lost_timer.cancel()
        self.job_started()
        if self._pruner is not None:
            self._pruner.cancel()
            self._pruner = faults.keep("pruning", self._prune)

    async def close(self) -> None:
        """Stop all timers."""
        self._lost_timer.cancel()
        self._tie_timer.cancel()
        tasks = [task for task in (self._pruner, self._check) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _check_database(self) -> None:
        try:
            found = await self._services.store.read(quick_check)
        except HookdError:
            return  # the store has reported the error
        if found is not None:
            self._problems["database"] = f"the database is damaged: {found}"
            self._services.journal.send(STORAGE_DAMAGED, detail=found)

    def job_started(self) -> None:
        """Check soon which open jobs are lost; each check sets the timer of the next."""
        if self._services.config.daemon.lost_after is not None:
            self._lost_timer.within(0.0)

    def _look(self) -> None:
        after = self._services.config.daemon.lost_after
        if after is None:
            return
        terms = self._intake.terms()
        age = math.ceil(after * 1e6)
        why = "no end came within daemon.lost_after"

        def act(db: Database) -> tuple[list[StoredEvent], int | None]:
            keys, left = db.overdue(age, terms.now, LOSE_STEP)
            return lose(db, keys, why, terms), left

        self._services.store.submit(
            act, self._looked, lambda _: self._lost_timer.within(AGAIN_SEC)
        )

    def _looked(self, outcome: tuple[list[StoredEvent], int | None] | HookdError) -> None:
        if isinstance(outcome, HookdError):
            self._lost_timer.within(AGAIN_SEC)
            return
        lost, left = outcome
        if left is not None:
            self._lost_timer.within(min(left / 1e6, LOOK_EVERY_SEC))
        for stored in lost:
            self._intake.recorded(stored)

    def tie_broken(self, jobs: set[int]) -> None:
        """End as lost the jobs that were tied to a closed connection."""
        if jobs:
            self._tied |= jobs
            self._lose_tied()

    def _lose_tied(self) -> None:
        terms, keys = self._intake.terms(), sorted(self._tied)

        def done(outcome: list[StoredEvent] | HookdError) -> None:
            if isinstance(outcome, HookdError):
                self._tie_timer.within(AGAIN_SEC)
                return
            self._tied.difference_update(keys)
            for stored in outcome:
                self._intake.recorded(stored)

        why = "the connection it was tied to ended"
        self._services.store.submit(
            lambda db: lose(db, keys, why, terms),
            done,
            lambda _: self._tie_timer.within(AGAIN_SEC),
        )

    async def _prune(self) -> None:
        while True:
            history = self._services.config.daemon.history
            pause = PRUNE_EVERY_SEC
            if history is not None:
                before = horizon(self._began, self._services.now(), math.ceil(history * 1e6))
                try:
                    if await self._services.store.write(lambda db: db.prune(before)):  # noqa: B023
                        pause = PRUNE_PAUSE_SEC
                except HookdError:
                    pass  # the store has reported the error; the next attempt is in an hour
            await asyncio.sleep(pause)


def horizon(began: Now, now: Now, age_usec: int) -> Now:
    """Return the moment before which jobs must have ended to be pruned.

    `began` is when hookd started. The clock may be wrong by years, and deleted history does not
    come back when it is corrected. A clock that jumps forward is therefore ignored until the next
    start. A clock that is set back is followed, because then more is kept.
    """
    passed = now.boottime_usec - began.boottime_usec
    return Now(
        min(now.usec, began.usec + passed) - age_usec, now.boottime_usec - age_usec, now.boot_id
    )
