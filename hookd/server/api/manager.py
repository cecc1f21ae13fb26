# SPDX-License-Identifier: LGPL-2.1-or-later
"""`io.hookd.Manager`: the methods for operators."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from hookd import __version__
from hookd.errors import (
    ExpectedMore,
    NoSuchHook,
    NoSuchRun,
    TooManySubscribers,
    TooSlow,
)
from hookd.manager_api import (
    Cancel,
    CancelReply,
    Explain,
    ExplainReply,
    GetMetrics,
    GetMetricsReply,
    GetStatus,
    GetStatusReply,
    ListHooks,
    ListHooksReply,
    ListJobs,
    ListJobsReply,
    Reload,
    ReloadReply,
    Replay,
    ReplayReply,
    Resume,
    ResumeReply,
    Status,
    Subscribe,
    SubscribeReply,
    TestHook,
    TestHookReply,
)
from hookd.model import Job
from hookd.server.api.change_feed import ChangeFeed
from hookd.server.api.metrics import Gauges, Metrics
from hookd.server.api.test_hook import test_hook
from hookd.server.api.validation import check_cancel, check_job_id, check_page
from hookd.server.api.views import explanation, info, next_retries
from hookd.server.dispatch.intake import Intake
from hookd.server.dispatch.services import Services
from hookd.server.storage import queries
from hookd.server.transport.connection import Connection
from hookd.server.transport.varlink import Call

HEARTBEAT_SEC = 15.0  # between two replies to a subscriber, also if nothing has changed
MAX_SUBSCRIBERS = 100


class Health(msgspec.Struct, kw_only=True):
    """What only the daemon itself knows of its state."""

    started_usec: int
    problems: dict[str, str]
    notes: list[str]
    connections: int
    faults: int
    runner_faults: int
    runner_version: str | None
    unusable: dict[str, str]


class Manager:
    """The methods of the interface, each a coroutine from parameters to a reply."""

    def __init__(
        self,
        services: Services,
        intake: Intake,
        health: Callable[[], Health],
        reload: Callable[[], Awaitable[list[str]]],
        change_feed: ChangeFeed,
        metrics: Metrics,
    ) -> None:
        self._services = services
        self._intake = intake
        self._health = health
        self._reload = reload
        self._change_feed = change_feed
        self._metrics = metrics
        self._subscribers = 0

    async def get_status(
        self, _connection: Connection, _call: Call, _asked: GetStatus
    ) -> GetStatusReply:
        """Return the state of the daemon."""
        health, services = self._health(), self._services
        schedule, daemon = services.dispatcher.scheduler, services.config.daemon
        problems = list(health.problems.values())
        status = Status(
            version=__version__,
            pid=os.getpid(),
            started_usec=health.started_usec,
            healthy=not problems,
            problems=problems,
            notes=health.notes,
            running=schedule.running,
            waiting=schedule.waiting,
            max_running=daemon.max_running,
            max_queue=daemon.max_queue,
            open_jobs=self._open_jobs(health),
            connections=health.connections,
            faults=health.faults,
            hooks=len(services.config.hooks),
            parked_hooks=sorted(schedule.parked),
            unusable_hooks=dict(sorted(health.unusable.items())),
            runner_connected=services.dispatcher.handover.instance is not None,
            runner_instance=services.dispatcher.handover.instance,
            runner_version=health.runner_version,
            runner_faults=health.runner_faults,
            config_digest=services.config.digest,
        )
        return GetStatusReply(status=status)

    async def list_jobs(
        self, _connection: Connection, _call: Call, asked: ListJobs
    ) -> ListJobsReply:
        """Return a page of jobs, newest first."""
        before, limit = check_page(asked)
        jobs: list[Job] = []
        found = queries.Page(jobs, 0, before, False)
        while True:
            more = partial(queries.page, call=asked, before=found.cursor, size=found.size)
            found = await self._services.look_up(partial(more, limit=limit - len(jobs)))
            jobs += found.jobs
            if found.full or found.cursor is None or len(jobs) == limit:
                break
        self._services.dispatcher.registry.bring_up_to_date(jobs)
        return ListJobsReply(jobs=jobs, cursor=None if found.cursor is None else str(found.cursor))

    async def list_hooks(
        self, _connection: Connection, _call: Call, _asked: ListHooks
    ) -> ListHooksReply:
        """Return all hooks, each with its state and its last run."""
        hooks = list(self._services.config.hooks.values())
        names = [hook.name for hook in hooks]
        last = await self._services.look_up(lambda db: queries.last_runs(db, names))
        dispatcher = self._services.dispatcher
        retries = next_retries(dispatcher, self._services.now().usec)
        unusable = self._health().unusable
        return ListHooksReply(
            hooks=[
                info(
                    dispatcher,
                    hook,
                    last.get(hook.name),
                    retries.get(hook.name),
                    unusable.get(hook.name),
                )
                for hook in hooks
            ]
        )

    async def explain(self, _connection: Connection, _call: Call, asked: Explain) -> ExplainReply:
        """Return for each hook and each event of a job whether they match, and why."""
        check_job_id(asked.job_id)
        events = await self._services.look_up(lambda db: queries.events(db, asked.job_id))
        hooks = self._services.config.hooks.values()
        found = [explanation(hook, event) for hook in hooks for event in events]
        return ExplainReply(hooks=found)

    async def reload(self, _connection: Connection, _call: Call, _asked: Reload) -> ReloadReply:
        """Reload the configuration, all of it or nothing."""
        notes = await self._reload()
        return ReloadReply(hooks=len(self._services.config.hooks), notes=notes)

    async def cancel(self, connection: Connection, _call: Call, asked: Cancel) -> CancelReply:
        """Cancel the runs of a job, or one run."""
        check_cancel(asked)
        dispatcher = self._services.dispatcher
        reason = f"requested by uid {connection.peer.uid}"
        if asked.run_id is not None:
            cancelled = dispatcher.cancel([asked.run_id], reason)
            if not cancelled:
                raise NoSuchRun(asked.run_id)
            return CancelReply(runs=cancelled)
        job_id = asked.job_id
        assert job_id is not None  # exactly one of the two is given
        job = await self._services.look_up(lambda db: queries.job(db, job_id))
        return CancelReply(runs=dispatcher.cancel([run.run_id for run in job.hooks], reason))

    async def resume(self, connection: Connection, _call: Call, asked: Resume) -> ResumeReply:
        """Release a parked hook from quarantine."""
        if asked.hook not in self._services.config.hooks:
            raise NoSuchHook(asked.hook)
        if asked.hook in self._services.dispatcher.scheduler.parked:
            self._services.dispatcher.resume(asked.hook, f"resumed by uid {connection.peer.uid}")
        return ResumeReply()

    async def subscribe(self, connection: Connection, call: Call, asked: Subscribe) -> Any:
        """Send every change until the subscriber closes its connection."""
        if not call.more:
            raise ExpectedMore
        if self._subscribers >= MAX_SUBSCRIBERS:
            raise TooManySubscribers(MAX_SUBSCRIBERS)
        self._subscribers += 1
        try:
            await self._tell(connection, asked.since)
        finally:
            self._subscribers -= 1

    async def _tell(self, connection: Connection, since: int | None) -> None:
        change_feed = self._change_feed
        seq = change_feed.newest if since is None else min(since, change_feed.newest)
        missed = seq + 1 < change_feed.oldest
        while True:
            notices = change_feed.after(seq)
            connection.progress(SubscribeReply(notices=notices, missed=missed))
            if notices:
                seq = notices[-1].seq
            await connection.drained()
            if seq + 1 < change_feed.oldest:
                raise TooSlow(seq)
            missed = False
            if seq == change_feed.newest:
                with contextlib.suppress(TimeoutError):
                    await connection.while_connected(
                        asyncio.wait_for(change_feed.news(), HEARTBEAT_SEC)
                    )

    async def test_hook(
        self, connection: Connection, call: Call, asked: TestHook
    ) -> TestHookReply:
        """Run one hook, or describe its run, for an operator."""
        return await test_hook(self._services, self._intake, connection, call, asked)

    async def replay(self, _connection: Connection, _call: Call, asked: Replay) -> ReplayReply:
        """Run the hooks of a job again."""
        check_job_id(asked.job_id)
        terms = self._intake.terms()
        stored = await self._intake.record_all(lambda db: db.replay(asked.job_id, terms))
        return ReplayReply(hooks=[run for event, _ in stored for run, _ in event.runs])

    async def get_metrics(
        self, _connection: Connection, _call: Call, _asked: GetMetrics
    ) -> GetMetricsReply:
        """Return all metrics for a monitoring system."""
        health, schedule = self._health(), self._services.dispatcher.scheduler
        gauges = Gauges(
            running=schedule.running,
            waiting=schedule.waiting,
            open_jobs=self._open_jobs(health),
            connections=health.connections,
            healthy=not health.problems,
            parked=len(schedule.parked),
            faults={"server": health.faults, "runner": health.runner_faults},
        )
        return GetMetricsReply(families=self._metrics.families(gauges))

    def _open_jobs(self, health: Health) -> int | None:
        """Return the number of open jobs, or None while storage fails."""
        if "storage" in health.problems:
            return None
        return len(self._services.dispatcher.registry.open_jobs)
