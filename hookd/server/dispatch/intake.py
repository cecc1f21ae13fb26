# SPDX-License-Identifier: LGPL-2.1-or-later
"""Takes in events: matches, writes and records them, and starts their runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from hookd.config.template import VARIABLES
from hookd.errors import HookdError, InternalError, JobAlreadyEnded, NoSuchJob
from hookd.model import INT_MAX, Event, Outcome, Phase
from hookd.server.dispatch.matching import matching, overlap_key
from hookd.server.dispatch.services import Services
from hookd.server.runs.scheduler import at_once
from hookd.server.runs.watchers import JobEvent
from hookd.server.storage.database import Database
from hookd.server.storage.threads import complete
from hookd.server.storage.values import EndRequest, NewRun, StoredEvent, Terms
from hookd.system import faults
from hookd.system.records import EVENT_VARIABLES, JOB_ENDED, JOB_LOST, JOB_STARTED


class Intake:
    """Takes in events. `observe` is called with each event once it is on disk."""

    def __init__(self, services: Services, observe: Callable[[Event], None]) -> None:
        self._services = services
        self._observe = observe

    async def record(
        self, act: Callable[[Database], StoredEvent]
    ) -> tuple[StoredEvent, JobEvent | None]:
        """Write one event and start its runs, as `record_all` does."""
        return (await self.record_all(lambda db: [act(db)]))[0]

    async def record_all(
        self, act: Callable[[Database], list[StoredEvent]]
    ) -> list[tuple[StoredEvent, JobEvent | None]]:
        """Write events and start their runs; return once the events are on disk.

        An event on disk is carried out even if the caller is cancelled meanwhile; if hookd stops,
        then after its next start. Raises what `act` raises, or StorageFailure.
        """
        future: asyncio.Future[list[tuple[StoredEvent, JobEvent | None]]]
        future = asyncio.get_running_loop().create_future()

        def done(outcome: list[StoredEvent] | HookdError) -> None:
            if isinstance(outcome, HookdError):
                complete(future, outcome)
            else:
                complete(
                    future,
                    [(stored, self.recorded(stored)) for stored in outcome],
                )

        def failed(error: Exception) -> None:
            complete(future, InternalError(faults.words(error)))

        self._services.store.submit(act, done, failed)
        return await future

    def recorded(self, stored: StoredEvent) -> JobEvent | None:
        """Record in the journal that an event was written, and start its runs."""
        if not stored.duplicate and not stored.replay:
            self._say(stored)
            self._observe(stored.event)
        return self._services.dispatcher.add(stored)

    def terms(self) -> Terms:
        """Return the terms by which an event is written now."""
        services, config = self._services, self._services.config
        parked = services.dispatcher.scheduler.parked

        def matched(event: Event) -> list[NewRun]:
            hooks = matching(config, event)
            gated = event.phase is Phase.START and any(hook.is_gate for hook in hooks)
            return [
                NewRun(
                    hook.name,
                    overlap_key(hook, event),
                    0 if hook.name in parked or (gated and not hook.is_gate) else at_once(hook),
                )
                for hook in hooks
            ]

        return Terms(
            matched=matched,
            now=services.now(),
            room=config.daemon.max_queue,
            slots=services.dispatcher.handover.slots(),
        )

    def _say(self, stored: StoredEvent) -> None:
        event = stored.event
        fields = event_fields(event)
        if event.phase is Phase.START:
            self._services.journal.send(JOB_STARTED, fields)
        elif event.outcome is Outcome.LOST:
            self._services.journal.send(
                JOB_LOST, fields, detail=event.message or "the backup server said so"
            )
        else:
            detail = f"{event.outcome}, {event.file_count} files, {event.byte_count} bytes"
            self._services.journal.send(JOB_ENDED, fields, detail=detail)


def lose(db: Database, keys: Sequence[int], why: str, terms: Terms) -> list[StoredEvent]:
    """Write the end, with the outcome lost, of those of these jobs that are still open.

    The limit of the queue does not apply: nobody could send such an end again later.
    """
    terms = msgspec.structs.replace(terms, room=INT_MAX)
    lost = []
    for key in keys:
        request = EndRequest(job=key, outcome=Outcome.LOST, message=why)
        try:
            lost.append(db.end_job(request, terms))
        except (JobAlreadyEnded, NoSuchJob):
            continue
    return lost


def event_fields(event: Event) -> dict[str, str | int | None]:
    """Return the journal's fields of an event."""
    return {f"HOOKD_{name}": VARIABLES[name].text(event) for name in EVENT_VARIABLES}
