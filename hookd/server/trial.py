# SPDX-License-Identifier: LGPL-2.1-or-later
"""`TestHook`: one hook, run or merely explained, for an operator who wants to see it."""

from __future__ import annotations

import msgspec

from hookd.config import Hook
from hookd.errors import NoSuchHook, RunnerUnavailable
from hookd.model import Event, HookRun, Outcome, Phase
from hookd.server.admission import check_counts, start_event
from hookd.server.entries import NewRun, StartRequest
from hookd.server.facilities import Facilities
from hookd.server.intake import Intake
from hookd.server.live import Follower, LiveEvent
from hookd.server.matching import explain, overlap_key
from hookd.server.protocol import Call, StartJob, TestHook
from hookd.server.session import Session
from hookd.template import environment


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


class Trial(msgspec.Struct, kw_only=True):
    """One reply of TestHook."""

    run: HookRun | None = None
    output: list[OutputLine] = []
    plan: TestPlan | None = None


async def test_hook(
    facilities: Facilities, intake: Intake, session: Session, call: Call, asked: TestHook
) -> Trial:
    """Run one hook as if for a job, and tell of it until it has ended.

    Raises NoSuchHook, InvalidParameter, RequestIdConflict, RunnerUnavailable or StorageFailure.
    """
    hook = facilities.config.hooks.get(asked.hook)
    if hook is None:
        raise NoSuchHook(asked.hook)
    event = _event(asked)
    if asked.dry_run:
        return Trial(plan=plan(hook, event))
    if facilities.dispatcher.starts.instance is None:
        raise RunnerUnavailable("the runner is not connected")
    run, now = NewRun(hook.name, overlap_key(hook, event)), facilities.now()
    start = StartRequest(event=event, request_id=asked.request_id, tie=False, uid=session.peer.uid)
    booked, live = await intake.book(lambda books: books.test(start, run, now))
    if live is None or call.oneway:
        return Trial(run=booked.runs[0][0])
    follower = live.follow(changes=True, output=True)
    if call.more:  # so that a run which waits, or says nothing for long, can be cancelled
        session.progress(Trial(run=booked.runs[0][0]))
    try:
        return await _follow(session, call, live, follower)
    finally:
        follower.close()


async def _follow(session: Session, call: Call, live: LiveEvent, follower: Follower) -> Trial:
    output: list[OutputLine] = []
    while (change := await session.patiently(follower.change())) is not None:
        trial = Trial()
        if isinstance(change, HookRun):
            trial.run = change
        else:
            trial.output = [OutputLine(change.stream, change.text)]
        output += trial.output
        if call.more:
            session.progress(trial)
            await session.drained()
    run = next(iter(live.runs.values()))
    return Trial(run=run, output=[] if call.more else output)


def plan(hook: Hook, event: Event) -> TestPlan:
    """Return what would be started. The hook's own variables may be secrets: names alone."""
    verdict = explain(hook, event)
    shown = dict.fromkeys(hook.run.environment, "(not shown)")
    return TestPlan(
        argv=hook.command.expand(event),
        environment={**environment(event), "HOOKD_HOOK": hook.name, **shown},
        user=hook.run.user,
        group=hook.run.group,
        working_directory=hook.run.working_directory,
        matched=verdict.matched,
        rule=verdict.rule,
        reason=verdict.reason,
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
