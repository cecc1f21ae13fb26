# SPDX-License-Identifier: LGPL-2.1-or-later
"""`io.hookd.Jobs`: the methods for backup servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hookd.errors import WouldDeadlock
from hookd.model import HookRun
from hookd.server import archive
from hookd.server.admission import (
    check_end,
    check_instance,
    check_job_id,
    start_event,
)
from hookd.server.books import Books
from hookd.server.entries import Booked, EndRequest, StartRequest
from hookd.server.facilities import Facilities
from hookd.server.intake import Intake, lose
from hookd.server.live import LiveEvent
from hookd.server.protocol import (
    Call,
    EndJob,
    EndJobReply,
    GetJob,
    GetJobReply,
    ServerStarted,
    StartJob,
    StartJobReply,
)
from hookd.server.session import Session

Reply = Callable[[list[HookRun]], Any]


class Jobs:
    """The methods of the interface, each a coroutine from parameters to a reply."""

    def __init__(
        self,
        facilities: Facilities,
        intake: Intake,
        tie_broken: Callable[[set[int]], None],
    ) -> None:
        self._facilities = facilities
        self._intake = intake
        self._tie_broken = tie_broken

    async def start_job(self, session: Session, call: Call, asked: StartJob) -> Any:
        """Begin a job: on disk, then past its gates, then, if asked, to the end of its hooks."""
        request = StartRequest(
            event=start_event(asked),
            request_id=asked.request_id,
            tie=bool(asked.tie),
            uid=session.peer.uid,
        )
        terms = self._intake.terms()
        booked, live = await self._intake.book(lambda books: books.start_job(request, terms))
        if asked.tie:
            self._tie(session, booked.job)

        def reply(hooks: list[HookRun]) -> StartJobReply:
            reason = live.refusal if live is not None and live.refusal else booked.reason
            return StartJobReply(
                job_id=booked.event.job_id,
                duplicate=booked.duplicate,
                allowed=booked.allowed and (live is None or live.refusal is None),
                reason=reason,
                hooks=hooks,
            )

        return await _answer(session, call, asked.wait, booked, live, reply)

    async def end_job(self, session: Session, call: Call, asked: EndJob) -> Any:
        """End a job: on disk, then, if asked, to the end of its hooks."""
        if asked.wait or call.more:
            await self._refuse_own_job(session, asked)
        request = EndRequest(
            job_id=asked.job_id,
            server_job_id=asked.server_job_id,
            uid=session.peer.uid,
            file_count=asked.file_count,
            byte_count=asked.byte_count,
            outcome=check_end(asked),
            message=asked.message,
            request_id=asked.request_id,
        )
        terms = self._intake.terms()
        booked, live = await self._intake.book(lambda books: books.end_job(request, terms))
        session.ties.discard(booked.job)

        def reply(hooks: list[HookRun]) -> EndJobReply:
            return EndJobReply(job_id=booked.event.job_id, duplicate=booked.duplicate, hooks=hooks)

        return await _answer(session, call, asked.wait, booked, live, reply)

    async def get_job(self, _session: Session, _call: Call, asked: GetJob) -> GetJobReply:
        """Return all that is known of a job."""
        check_job_id(asked.job_id)
        job = await self._facilities.look_up(lambda db: archive.job(db, asked.job_id))
        self._facilities.dispatcher.roster.bring_up_to_date([job])
        return GetJobReply(job=job)

    async def server_started(
        self, session: Session, _call: Call, asked: ServerStarted
    ) -> dict[str, list[int]]:
        """End, as lost, the open jobs of a backup server's earlier instances."""
        check_instance(asked.instance)
        terms, uid = self._intake.terms(), session.peer.uid

        def act(books: Books) -> list[Booked]:
            keys = books.server_started(uid, asked.instance)
            return lose(books, keys, "the backup server has started anew", terms)

        lost = await self._intake.book_all(act)
        return {"lost_jobs": [booked.event.job_id for booked, _ in lost]}

    async def _refuse_own_job(self, session: Session, asked: EndJob) -> None:
        """Raise WouldDeadlock where a hook would wait for the job that waits for the hook."""
        own = await self._facilities.dispatcher.whose.run_of(session.peer.pid)
        if own is None:
            return
        job_id = own.event.job_id
        job = await self._facilities.store.read(lambda db: archive.job(db, job_id))
        if job_id == asked.job_id or (asked.server_job_id or "") == job.server_job_id:
            raise WouldDeadlock(job_id, own.run.run_id)

    def _tie(self, session: Session, job: int) -> None:
        session.ties.add(job)
        if session.closed.done():  # it hung up while the event was being written
            self._tie_broken(session.ties)


async def _answer(
    session: Session,
    call: Call,
    wait: bool | None,
    booked: Booked,
    live: LiveEvent | None,
    reply: Reply,
) -> Any:
    """Return the last reply to a call, having waited and told of changes as it asked."""

    def hooks() -> list[HookRun]:
        runs = {run.run_id: run for run, _ in booked.runs}
        return list((runs | live.runs if live is not None else runs).values())

    if live is None or call.oneway:
        return reply(hooks())
    follower = live.follow(changes=bool(call.more))
    try:
        if call.more:
            session.progress(reply(hooks()))
            while (change := await session.patiently(follower.change())) is not None:
                if isinstance(change, HookRun):
                    session.progress(reply([change]))
                await session.drained()
        elif wait:
            await session.patiently(follower.ended())
        elif not live.decided:
            await session.patiently(follower.decided())
    finally:
        follower.close()
    return reply(hooks())
