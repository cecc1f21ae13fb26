# SPDX-License-Identifier: LGPL-2.1-or-later
"""`io.hookd.Jobs`: the methods for backup servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hookd.errors import WouldDeadlock
from hookd.jobs_api import (
    EndJob,
    EndJobReply,
    GetJob,
    GetJobReply,
    ServerStarted,
    ServerStartedReply,
    StartJob,
    StartJobReply,
)
from hookd.model import HookRun
from hookd.server.api.validation import check_end, check_instance, check_job_id, start_event
from hookd.server.dispatch.intake import Intake, lose
from hookd.server.dispatch.services import Services
from hookd.server.runs.watchers import JobEvent
from hookd.server.storage import queries
from hookd.server.storage.database import Database
from hookd.server.storage.values import EndRequest, StartRequest, StoredEvent
from hookd.server.transport.connection import Connection
from hookd.server.transport.varlink import Call

MakeReply = Callable[[list[HookRun]], Any]


class Jobs:
    """The methods of the interface, each a coroutine from parameters to a reply."""

    def __init__(
        self,
        services: Services,
        intake: Intake,
        tie_broken: Callable[[set[int]], None],
    ) -> None:
        self._services = services
        self._intake = intake
        self._tie_broken = tie_broken

    async def start_job(self, connection: Connection, call: Call, asked: StartJob) -> Any:
        """Store the start of a job, let its gates decide, and wait for its hooks if asked to."""
        request = StartRequest(
            event=start_event(asked),
            request_id=asked.request_id,
            tie=bool(asked.tie),
            uid=connection.peer.uid,
        )
        terms = self._intake.terms()
        stored_event, live = await self._intake.record(lambda db: db.start_job(request, terms))
        if asked.tie:
            self._tie(connection, stored_event.job)

        def reply(hooks: list[HookRun]) -> StartJobReply:
            reason = live.refusal if live is not None and live.refusal else stored_event.reason
            return StartJobReply(
                job_id=stored_event.event.job_id,
                duplicate=stored_event.duplicate,
                allowed=stored_event.allowed and (live is None or live.refusal is None),
                reason=reason,
                hooks=hooks,
            )

        return await _answer(connection, call, asked.wait, stored_event, live, reply)

    async def end_job(self, connection: Connection, call: Call, asked: EndJob) -> Any:
        """Store the end of a job, and wait for its hooks if asked to."""
        if asked.wait or call.more:
            await self._refuse_own_job(connection, asked)
        request = EndRequest(
            job_id=asked.job_id,
            server_job_id=asked.server_job_id,
            uid=connection.peer.uid,
            file_count=asked.file_count,
            byte_count=asked.byte_count,
            outcome=check_end(asked),
            message=asked.message,
            request_id=asked.request_id,
        )
        terms = self._intake.terms()
        stored_event, live = await self._intake.record(lambda db: db.end_job(request, terms))
        connection.ties.discard(stored_event.job)

        def reply(hooks: list[HookRun]) -> EndJobReply:
            return EndJobReply(
                job_id=stored_event.event.job_id, duplicate=stored_event.duplicate, hooks=hooks
            )

        return await _answer(connection, call, asked.wait, stored_event, live, reply)

    async def get_job(self, _connection: Connection, _call: Call, asked: GetJob) -> GetJobReply:
        """Return everything that is known of a job."""
        check_job_id(asked.job_id)
        job = await self._services.look_up(lambda db: queries.job(db, asked.job_id))
        self._services.dispatcher.registry.bring_up_to_date([job])
        return GetJobReply(job=job)

    async def server_started(
        self, connection: Connection, _call: Call, asked: ServerStarted
    ) -> ServerStartedReply:
        """End the open jobs of earlier instances of a backup server; they are lost."""
        check_instance(asked.instance)
        terms, uid = self._intake.terms(), connection.peer.uid

        def act(db: Database) -> list[StoredEvent]:
            keys = db.server_started(uid, asked.instance)
            return lose(db, keys, "the backup server has started anew", terms)

        lost = await self._intake.record_all(act)
        return ServerStartedReply(lost_jobs=[stored.event.job_id for stored, _ in lost])

    async def _refuse_own_job(self, connection: Connection, asked: EndJob) -> None:
        """Raise WouldDeadlock if a hook would wait for the job that waits for the hook."""
        own = await self._services.dispatcher.origins.run_of(connection.peer.pid)
        if own is None:
            return
        job_id = own.event.job_id
        job = await self._services.store.read(lambda db: queries.job(db, job_id))
        if job_id == asked.job_id or (asked.server_job_id or "") == job.server_job_id:
            raise WouldDeadlock(job_id, own.run_id)

    def _tie(self, connection: Connection, job: int) -> None:
        connection.ties.add(job)
        if connection.closed.done():  # it was closed while the event was written
            self._tie_broken(connection.ties)


async def _answer(
    connection: Connection,
    call: Call,
    wait: bool | None,
    stored_event: StoredEvent,
    live: JobEvent | None,
    reply: MakeReply,
) -> Any:
    """Return the last reply to a call, after the wait and the replies that it asked for."""

    def hooks() -> list[HookRun]:
        runs = {run.run_id: run for run, _ in stored_event.runs}
        return list((runs | live.runs if live is not None else runs).values())

    if live is None or call.oneway:
        return reply(hooks())
    watcher = live.watch(changes=bool(call.more))
    try:
        if call.more:
            connection.progress(reply(hooks()))
            while (change := await connection.while_connected(watcher.change())) is not None:
                if isinstance(change, HookRun):
                    connection.progress(reply([change]))
                await connection.drained()
        elif wait:
            await connection.while_connected(watcher.ended())
        elif not live.decided:
            await connection.while_connected(watcher.decided())
    finally:
        watcher.close()
    return reply(hooks())
