# SPDX-License-Identifier: LGPL-2.1-or-later
"""The method `TestHook`: one hook is run, or its run is described, for an operator."""

from __future__ import annotations

import msgspec

from hookd.config.parse import Hook
from hookd.config.template import environment
from hookd.errors import NoSuchHook, RunnerUnavailable
from hookd.jobs_api import StartJob
from hookd.manager_api import OutputLine, TestHook, TestHookReply, TestPlan
from hookd.model import Event, HookRun, Outcome, Phase
from hookd.server.api.validation import check_counts, start_event
from hookd.server.dispatch.intake import Intake
from hookd.server.dispatch.matching import explain, overlap_key
from hookd.server.dispatch.services import Services
from hookd.server.runs.watchers import JobEvent, Watcher
from hookd.server.storage.values import NewRun, StartRequest
from hookd.server.transport.connection import Connection
from hookd.server.transport.varlink import Call


async def test_hook(
    services: Services, intake: Intake, connection: Connection, call: Call, asked: TestHook
) -> TestHookReply:
    """Run one hook as if for a job, and report its output until it has ended.

    Raises NoSuchHook, InvalidParameter, RequestIdConflict, RunnerUnavailable or StorageFailure.
    """
    hook = services.config.hooks.get(asked.hook)
    if hook is None:
        raise NoSuchHook(asked.hook)
    event = _event(asked)
    if asked.dry_run:
        return TestHookReply(plan=plan(hook, event))
    if services.dispatcher.handover.instance is None:
        raise RunnerUnavailable("the runner is not connected")
    run, now = NewRun(hook.name, overlap_key(hook, event)), services.now()
    start = StartRequest(
        event=event, request_id=asked.request_id, tie=False, uid=connection.peer.uid
    )
    stored_event, live = await intake.record(lambda db: db.test(start, run, now))
    if live is None or call.oneway:
        return TestHookReply(run=stored_event.runs[0][0])
    watcher = live.watch(changes=True, output=True)
    if call.more:  # so that a run which waits or prints nothing can be cancelled
        connection.progress(TestHookReply(run=stored_event.runs[0][0]))
    try:
        return await _follow(connection, call, live, watcher)
    finally:
        watcher.close()


async def _follow(
    connection: Connection, call: Call, live: JobEvent, watcher: Watcher
) -> TestHookReply:
    output: list[OutputLine] = []
    while (change := await connection.while_connected(watcher.change())) is not None:
        if isinstance(change, HookRun):
            reply = TestHookReply(run=change)
        else:
            reply = TestHookReply(output=[OutputLine(change.stream, change.text)])
        output += reply.output
        if call.more:
            connection.progress(reply)
            await connection.drained()
    run = next(iter(live.runs.values()))
    return TestHookReply(run=run, output=[] if call.more else output)


def plan(hook: Hook, event: Event) -> TestPlan:
    """Return what would be started. Values of the hook's own variables may be secret."""
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
