# SPDX-License-Identifier: LGPL-2.1-or-later
"""The way in for events, whoever tells of them: matched, written, said, and set going."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from hookd import faults
from hookd.errors import HookdError, InternalError, JobAlreadyEnded, NoSuchJob
from hookd.model import INT_MAX, Event, Outcome, Phase
from hookd.records import EVENT_VARIABLES, JOB_ENDED, JOB_LOST, JOB_STARTED
from hookd.server.books import Books
from hookd.server.entries import Booked, EndRequest, NewRun, Terms
from hookd.server.facilities import Facilities
from hookd.server.live import LiveEvent
from hookd.server.matching import matching, overlap_key
from hookd.server.schedule import at_once
from hookd.server.store import complete
from hookd.template import VARIABLES


class Intake:
    """Books events. `observe` is told of each, `job_started` of those that open a job."""

    def __init__(self, facilities: Facilities) -> None:
        self._facilities = facilities
        self.job_started: Callable[[], None] = lambda: None
        self.observe: Callable[[Event], None] = lambda _: None

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
                complete(future, outcome)
            else:
                complete(future, [(booked, self.booked(booked)) for booked in outcome])

        def failed(error: Exception) -> None:
            complete(future, InternalError(faults.words(error)))

        self._facilities.store.submit(act, done, failed)
        return await future

    def booked(self, booked: Booked) -> LiveEvent | None:
        """Say in the journal that an event was written, and set its runs going."""
        if not booked.duplicate and not booked.replay:
            self._say(booked)
            self.observe(booked.event)
            if booked.event.phase is Phase.START:
                self.job_started()
        return self._facilities.dispatcher.adopt(booked)

    def terms(self) -> Terms:
        """Return how an event is written now: by the configuration in force."""
        facilities, config = self._facilities, self._facilities.config

        def matched(event: Event) -> list[NewRun]:
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

        return Terms(
            matched=matched,
            now=facilities.now(),
            room=config.daemon.max_queue,
            slots=facilities.dispatcher.starts.slots,
        )

    def _say(self, booked: Booked) -> None:
        event = booked.event
        fields = event_fields(event)
        if event.phase is Phase.START:
            self._facilities.journal.send(JOB_STARTED, fields)
        elif event.outcome is Outcome.LOST:
            self._facilities.journal.send(
                JOB_LOST, fields, detail=event.message or "the backup server said so"
            )
        else:
            detail = f"{event.outcome}, {event.file_count} files, {event.byte_count} bytes"
            self._facilities.journal.send(JOB_ENDED, fields, detail=detail)


def lose(books: Books, keys: Sequence[int], why: str, terms: Terms) -> list[Booked]:
    """Write the end, outcome lost, of those of these jobs that are still open.

    No queue is too full for it: an end that nobody sends cannot be sent again.
    """
    terms = msgspec.structs.replace(terms, room=INT_MAX)
    lost = []
    for key in keys:
        request = EndRequest(job=key, outcome=Outcome.LOST, message=why)
        try:
            lost.append(books.end_job(request, terms))
        except (JobAlreadyEnded, NoSuchJob):
            continue
    return lost


def event_fields(event: Event) -> dict[str, str | int | None]:
    """Return the journal's fields of an event."""
    return {f"HOOKD_{name}": VARIABLES[name].text(event) for name in EVENT_VARIABLES}
