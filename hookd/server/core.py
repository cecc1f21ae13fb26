# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the methods and the upkeep share: the facilities, the configuration in force, booking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from hookd.config import Config
from hookd.errors import HookdError, JobAlreadyEnded, NoSuchJob
from hookd.journal import Journal
from hookd.model import INT_MAX, Event, Outcome, Phase
from hookd.records import EVENT_VARIABLES, JOB_ENDED, JOB_LOST, JOB_STARTED
from hookd.server.books import Books
from hookd.server.dispatcher import Dispatcher
from hookd.server.entries import Booked, EndRequest, NewRun, Now, Plan
from hookd.server.live import LiveEvent
from hookd.server.matching import matching, overlap_key
from hookd.server.schedule import at_once
from hookd.server.store import Store, settle
from hookd.template import VARIABLES

T = TypeVar("T")

LOOK_UPS = 4  # in the archive at a time


class Core:
    """The facilities of a server, and the way an event takes through them."""

    def __init__(
        self,
        config: Config,
        store: Store,
        dispatcher: Dispatcher,
        journal: Journal,
        now: Callable[[], Now],
    ) -> None:
        self.config = config
        self.store = store
        self.dispatcher = dispatcher
        self.journal = journal
        self.now = now
        self._look_ups = asyncio.Semaphore(LOOK_UPS)
        self.job_started: Callable[[], None] = lambda: None
        self.observe: Callable[[Event], None] = lambda _: None

    async def look_up(self, query: Callable[..., T]) -> T:
        """Return what a query finds that may find much, or take long to find little.

        Few are under way at a time, so that those who ask how hookd is wait for no more than
        these, and what was found does not heap up. Raises what the query raised, or
        StorageFailure.
        """
        async with self._look_ups:
            return await self.store.read(query)

    async def book(self, act: Callable[[Books], Booked]) -> tuple[Booked, LiveEvent | None]:
        """Write an event and set its runs going, as `book_all` does."""
        return (await self.book_all(lambda books: [act(books)]))[0]

    async def book_all(
        self, act: Callable[[Books], list[Booked]]
    ) -> list[tuple[Booked, LiveEvent | None]]:
        """Write events and set their runs going; return once they are on disk.

        What is on disk goes on even when the caller is cancelled meanwhile, or hookd stops: then
        with its next start. Raises what `act` raises, or StorageFailure.
        """
        future: asyncio.Future[list[tuple[Booked, LiveEvent | None]]]
        future = asyncio.get_running_loop().create_future()

        def done(outcome: list[Booked] | HookdError) -> None:
            if isinstance(outcome, HookdError):
                settle(future, outcome)
            else:
                settle(future, [(booked, self.booked(booked)) for booked in outcome])

        self.store.submit(act, done)
        return await future

    def booked(self, booked: Booked) -> LiveEvent | None:
        """Say in the journal that an event was written, and set its runs going."""
        if not booked.duplicate and not booked.replay:
            self._say(booked)
            self.observe(booked.event)
            if booked.event.phase is Phase.START:
                self.job_started()
        return self.dispatcher.adopt(booked)

    def plan(self) -> Plan:
        """Return what matches by the configuration in force now."""
        config = self.config

        def planned(event: Event) -> list[NewRun]:
            hooks = matching(config, event)
            gated = event.phase is Phase.START and any(hook.is_gate for hook in hooks)
            return [
                NewRun(
                    hook.name,
                    overlap_key(hook, event),
                    0 if gated and not hook.is_gate else at_once(hook),
                )
                for hook in hooks
            ]

        return planned

    def _say(self, booked: Booked) -> None:
        event = booked.event
        fields = event_fields(event)
        if event.phase is Phase.START:
            self.journal.send(JOB_STARTED, fields)
        elif event.outcome is Outcome.LOST:
            self.journal.send(
                JOB_LOST, fields, detail=event.message or "the backup server said so"
            )
        else:
            detail = f"{event.outcome}, {event.file_count} files, {event.byte_count} bytes"
            self.journal.send(JOB_ENDED, fields, detail=detail)


def lose(books: Books, keys: Sequence[int], why: str, plan: Plan, now: Now) -> list[Booked]:
    """Write the end, outcome lost, of those of these jobs that are still open.

    No queue is too full for it: an end that nobody sends cannot be sent again.
    """
    lost = []
    for key in keys:
        request = EndRequest(job=key, outcome=Outcome.LOST, message=why)
        try:
            lost.append(books.end_job(request, plan, INT_MAX, now))
        except (JobAlreadyEnded, NoSuchJob):
            continue
    return lost


def event_fields(event: Event) -> dict[str, str | int | None]:
    """Return the journal's fields of an event."""
    return {f"HOOKD_{name}": VARIABLES[name].text(event) for name in EVENT_VARIABLES}


def clocks(boot_id: str) -> Now:
    """Return this moment on both clocks."""
    return Now(time.time_ns() // 1000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000, boot_id)
