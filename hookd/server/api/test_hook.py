# SPDX-License-Identifier: LGPL-2.1-or-later
"""`TestHook`: one hook, run or merely explained, for an operator who wants to see it."""

from __future__ import annotations

import msgspec

from hookd.config.parse import Hook
from hookd.config.template import environment
from hookd.errors import NoSuchHook, RunnerUnavailable
from hookd.model import Event, HookRun, Outcome, Phase
from hookd.server.api.admission import check_counts, start_event
from hookd.server.dispatch.intake import Intake
from hookd.server.dispatch.matching import explain, overlap_key
from hookd.server.dispatch.services import Services
from hookd.server.runs.watchers import JobEvent, Watcher
from hookd.server.storage.values import NewRun, StartRequest
from hookd.server.transport.connection import Connection
from hookd.server.transport.varlink import Call, StartJob, TestHook


class OutputLine(msgspec.Struct, frozen=True):
    """A line that a tested hook printed."""

    stream: str
    text: str


class TestPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a test would start, and whether the configuration would start it for such a job."""

    argv: list[str]
    environment: dict[str, str]
    user: str | None
    group: str | None
    working_directory: str
    matched: bool
    rule: str
    reason: str


class TestReply(msgspec.Struct, kw_only=True):
    """One reply of TestHook."""

    run: HookRun | None = None
    output: list[OutputLine] = []
    plan: TestPlan | None = None


async def test_hook(
    services: Services, intake: Intake, connection: Connection, call: Call, asked: TestHook
) -> TestReply:
    """Run one hook as if for a job, and tell of it until it has ended.

    Raises NoSuchHook, InvalidParameter, RequestIdConflict, RunnerUnavailable or StorageFailure.
    """
    hook = services.config.hooks.get(asked.hook)
    if hook is None:
        raise NoSuchHook(asked.hook)
    event = _event(asked)
    if asked.dry_run:
        return TestReply(plan=plan(hook, event))
    if services.dispatcher.handover.instance is None:
        raise RunnerUnavailable("the runner is not connected")
    run, now = NewRun(hook.name, overlap_key(hook, event)), services.now()
    start = StartRequest(
        event=event, request_id=asked.request_id, tie=False, uid=connection.peer.uid
    )
    stored_event, live = await intake.record(lambda db: db.test(start, run, now))
    if live is None or call.oneway:
        return TestReply(run=stored_event.runs[0][0])
    watcher = live.watch(changes=True, output=True)
    if call.more:  # so that a run which waits, or says nothing for long, can be cancelled
        connection.progress(TestReply(run=stored_event.runs[0][0]))
    try:
        return await _follow(connection, call, live, watcher)
    finally:
        watcher.close()


async def _follow(
    connection: Connection, call: Call, live: JobEvent, watcher: Watcher
) -> TestReply:
    output: list[OutputLine] = []
    while (change := await connection.while_connected(watcher.change())) is not None:
        reply = TestReply()
        if isinstance(change, HookRun):
            reply.run = change
        else:
            reply.output = [OutputLine(change.stream, change.text)]
        output += reply.output
        if call.more:
            connection.progress(reply)
            await connection.drained()
    run = next(iter(live.runs.values()))
    return TestReply(run=run, output=[] if call.more else output)


def plan(hook: Hook, event: Event) -> TestPlan:
    """Return what would be started. The hook's own variables may be secrets: names alone."""
    match = explain(hook, event)
    shown = dict.fromkeys(hook.run.environment, "(not shown)")
    return TestPlan(
        argv=hook.command.expand(event),
        environment={**environment(event), "HOOKD_HOOK": hook.name, **shown},
        user=hook.run.user,
        group=hook.run.group,
        working_directory=hook.run.working_directory,
        matched=match.matched,
        rule=match.rule,
        reason=match.reason,
    )


def _event(asked: TestHook) -> Event:
    start = start_event(
        StartJob(
            profile=asked.profile if asked.profile is not None else "test",
            user=asked.user or "",
            client_ip=asked.client_ip if asked.client_ip is not None else "127.0.0.1",
            client_build_no=asked.client_build_no or "",
            attributes=asked.attributes,
            request_id=asked.request_id,
        )
    )
    event = msgspec.structs.replace(start, phase=asked.phase, test=True)
    if asked.phase is Phase.START:
        return event
    files, size = asked.file_count or 0, asked.byte_count or 0
    check_counts(files, size)
    return msgspec.structs.replace(
        event,
        file_count=files,
        byte_count=size,
        outcome=asked.outcome or Outcome.SUCCESS,
    )
