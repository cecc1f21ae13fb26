# SPDX-License-Identifier: LGPL-2.1-or-later
"""One run from its order to its receipt; it always ends with the whole run reaped.

The clean way is a handful of callbacks: ordered, started, ended with nothing left. Everything
else (a time limit, a cancel, leftovers, a dead launcher) is a coroutine that reads from top to
bottom: TERM to the whole tree, the grace, KILL, again until nothing is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from hookd import records
from hookd.journal import Journal
from hookd.link import Start
from hookd.model import Receipt, Result
from hookd.runner import invocation, launcher, tree
from hookd.runner.hookfile import Checker, HookFileError
from hookd.runner.invocation import Invocation, Plan
from hookd.runner.orphans import Orphans
from hookd.runner.output import Output
from hookd.runner.profile import Report, SpawnError
from hookd.runner.spawn import Launcher, Pool
from hookd.runner.verdict import Cause, judge, spawn_words
from hookd.runner.watch import Watch

LEFTOVER_GRACE = 1.0  # seconds between TERM and KILL for what outlives its hook
PATIENCE = 5.0  # seconds of KILL until what is still there counts as stuck in the kernel
SHOWN = 10  # processes that a record names
JOURNAL_WAIT = 2.0  # seconds that a result waits for a journal that does not take its record


class Tools(msgspec.Struct, frozen=True):
    """What all runs share."""

    pool: Pool
    orphans: Orphans
    watch: Watch
    journal: Journal
    checker: Checker


class Supervisor:
    """One run. `started(self)` is called at most once, `ended(self, receipt)` exactly once."""

    def __init__(
        self,
        tools: Tools,
        plan: Plan,
        start: Start,
        started: Callable[[Supervisor], None],
        ended: Callable[[Supervisor, Receipt], None],
    ) -> None:
        self.run_id = start.run_id
        self.launcher: Launcher
        self.peak = 0
        self.started_usec: int | None = None
        self._tools = tools
        self._plan = plan
        self._start = start
        self._on_started = started
        self._on_ended = ended
        self._loop = asyncio.get_running_loop()
        self._context = self._line_context = invocation.minimal(start)
        self._output = Output(plan.hook.limits.output, self._line)
        self._cause: Cause | None = None
        self._first: Report | None = None
        self._last: Report | None = None
        self._gone = asyncio.Event()
        self._leftovers: set[int] = set()
        self._survivors = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start the hook, or end the run with the reason why that cannot be."""
        try:
            path = self._tools.checker.check(self._plan.hook.command.program)
            given = Invocation(self._plan, self._start)
            found = self._tools.pool.take(self._plan.profile)
        except (HookFileError, SpawnError) as e:
            self._refuse(str(e))
            return
        self._context, self._line_context = given.fields, given.line_fields
        if found is not None:
            self._order(found, path, given)
        else:
            self._do(self._begin_anew(path, given))

    def end(self, cause: Cause) -> None:
        """End the run (TERM, grace, KILL) for this cause, unless it ends by itself first."""
        self._interfere(cause, self._plan.hook.limits.kill_grace)

    def overstepped(self, limit: str) -> None:
        """End the run at once: the watch found it beyond a limit on its whole tree."""
        self._interfere(Cause(Result.LIMIT, limit=limit), 0)

    async def _begin_anew(self, path: str, given: Invocation) -> None:
        try:
            made = await self._tools.pool.make(self._plan.profile)
        except SpawnError as e:
            self._refuse(str(e))
            return
        self._task = None
        if self._cause is not None:  # cancelled meanwhile
            self._tools.pool.give_back(made)
            self._conclude()
            return
        self._order(made, path, given)

    def _order(self, found: Launcher, path: str, given: Invocation) -> None:
        run = self._plan.hook.run
        self.launcher = found
        fds: list[int] = []
        try:
            fds.append(invocation.stdin(self._plan, self._start))
            fds += self._output.open()
            found.listener = self._report
            found.order(path, run.working_directory, run.umask, given.argv, given.env, fds)
        except (OSError, SpawnError) as e:
            self._tools.pool.drop(found)
            self._refuse(str(e))
        finally:
            for fd in fds:
                os.close(fd)

    def _report(self, report: Report | None) -> None:
        """Take what the launcher says; None: it is dead."""
        if report is None:
            self._do(self._take_over())
        elif self._first is None and report.kind == launcher.STARTED:
            self._has_started(report)
        elif self._first is None and report.kind in (launcher.NO_DIRECTORY, launcher.NOT_SPAWNED):
            self._tools.pool.give_back(self.launcher)
            self._refuse(spawn_words(report, self._plan))
        elif self._first is not None and self._last is None and report.kind == launcher.ENDED:
            self._has_ended(report)
        elif self._last is not None and report.kind == launcher.EMPTY:
            self._last = msgspec.structs.replace(
                self._last, cpu_usec=report.cpu_usec, peak_kib=report.peak_kib
            )
            self._gone.set()
        else:
            self.launcher.kill()  # no launcher of ours says that

    def _has_started(self, report: Report) -> None:
        self._first = report
        self.started_usec = report.realtime_ns // 1000
        limit = self._plan.hook.limits.timeout
        self._deadline = self._loop.call_at(report.monotonic_ns / 1e9 + limit, self._overstays)
        self._output.read()
        self._tools.watch.add(self)
        self._tools.journal.send(
            records.RUN_STARTED, {"OBJECT_PID": report.pid}, context=self._context
        )
        self._on_started(self)
        if self._cause is not None:  # cancelled while it was being started
            self._do(self._end(self._plan.hook.limits.kill_grace))

    def _has_ended(self, report: Report) -> None:
        """The main process has ended, and with it the run, but for what it left behind."""
        self._last = report
        if self._deadline is not None:
            self._deadline.cancel()
        self._output.finish()
        if not report.left:
            self._gone.set()
        if self._cause is not None and self._in_time(report):
            self._cause = None
        if self._task is not None:
            return  # somebody is at it: the event that was just set, or KILL, lets that go on
        if report.left:
            self._do(self._clear())
        else:
            self._tools.pool.give_back(self.launcher)
            self._conclude()

    def _overstays(self) -> None:
        limits = self._plan.hook.limits
        reason = f"it ran longer than {limits.timeout:g} s"
        self._interfere(Cause(Result.TIMEOUT, reason=reason), limits.kill_grace)

    def _interfere(self, cause: Cause, grace: float) -> None:
        if self._cause is not None or self._last is not None:
            return  # it ends already, and has one result
        self._cause = cause
        if self._first is not None:
            self._do(self._end(grace))

    async def _end(self, grace: float) -> None:
        """End a run whose main process is alive."""
        if grace > 0:
            tree.signal_below(self.launcher.pid, signal.SIGTERM, signal.SIGCONT)
            await self._nothing_left(grace)
        await self._kill()
        self._leave()

    async def _clear(self) -> None:
        """Deal with what is left of a run whose main process has ended by itself."""
        found = [pid for pid in tree.below(self.launcher.pid) if tree.parent(pid)[1] not in "ZX"]
        self._leftovers.update(found)
        if found and self._plan.hook.run.leftovers == "warn":
            self._say_left(found)
        else:
            grace = min(LEFTOVER_GRACE, self._plan.hook.limits.kill_grace)
            tree.signal_below(self.launcher.pid, signal.SIGTERM, signal.SIGCONT)
            await self._nothing_left(grace)
            await self._kill()
        self._leave()

    async def _kill(self) -> None:
        """Send SIGKILL to all that is there, until nothing is or patience is over."""
        give_up = self._loop.time() + PATIENCE
        pause = 0.005
        while not self._gone.is_set() and self.launcher.alive:
            found = tree.signal_below(self.launcher.pid, signal.SIGKILL)
            if self._last is not None:
                self._leftovers.update(found)
            if self._loop.time() > give_up:
                self._say_stuck()
                return
            await self._nothing_left(pause)
            pause = min(2 * pause, 0.2)
            if pause > 0.1 and self.launcher.group is not None:
                self.launcher.group.kill()

    async def _take_over(self) -> None:
        """End what is left of a run whose launcher was killed: it has come to the runner."""
        self._survivors = await self._tools.orphans.clear(PATIENCE)
        self._output.finish()
        if self._first is None:
            self._tools.pool.drop(self.launcher)
            self._refuse("its launcher died before it could start it")
            return
        group = self.launcher.group
        limit = group.limit_hit() if group is not None else None
        if self._cause is None and limit is not None:
            self._cause = Cause(Result.LIMIT, limit=limit)
        if self._last is None:
            self._last = self._reaped(self._first)
        self._leave()

    def _reaped(self, first: Report) -> Report | None:
        """Return the report that the dead launcher can give no more."""
        if self._cause is None:
            self._cause = Cause(
                Result.SIGNALLED, reason="the launcher that it ran under was ended"
            )
        ended = self._tools.orphans.ended(first.pid)
        if ended is None:
            return None
        status, usage = ended
        cpu = int((usage.ru_utime + usage.ru_stime) * 1e6)
        return Report(
            launcher.ENDED, False, first.pid, status, time.time_ns(), time.monotonic_ns(), cpu,
            usage.ru_maxrss,
        )  # fmt: skip

    def _leave(self) -> None:
        """Part with the launcher, and end the run."""
        pool = self._tools.pool
        if self._gone.is_set() and self.launcher.alive:
            pool.give_back(self.launcher)
        elif self.launcher.alive:
            pool.linger(self.launcher)
        self._task = None
        self._conclude()

    def _refuse(self, reason: str) -> None:
        """End a run that could not be started."""
        self._output.finish()
        self._cause = Cause(Result.SPAWN_FAILED, reason=reason)
        self._conclude()

    def _conclude(self) -> None:
        """Make the receipt, write it to the journal and then tell the runner."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._tools.watch.remove(self)
        receipt = self._receipt()
        self._tools.journal.send(
            records.RUN_ENDED,
            {**records.receipt_fields(receipt), "OBJECT_PID": self._pid},
            context=self._context,
            detail=records.receipt_words(receipt),
            priority=records.PRIORITY[receipt.result],
        )
        if self._tools.journal.settled:
            self._on_ended(self, receipt)
        else:
            self._do(self._tell_later(receipt))

    async def _tell_later(self, receipt: Receipt) -> None:
        await self._tools.journal.settle(JOURNAL_WAIT)
        self._on_ended(self, receipt)

    def _receipt(self) -> Receipt:
        first, last, output = self._first, self._last, self._output
        now = time.time_ns()
        peak, hit = self.peak, None
        if first is not None and self.launcher.group is not None:
            peak = max(peak, self.launcher.group.peak())
            hit = self.launcher.group.limit_hit()
        ending = judge(self._cause, last, self._plan.hook.limits, hit)
        began = first.monotonic_ns if first is not None else 0
        ended = last.monotonic_ns if last is not None else time.monotonic_ns()
        return Receipt(
            result=ending.result,
            exit_status=ending.exit_status,
            signal=ending.signal,
            limit=ending.limit,
            reason=ending.reason,
            last_line=output.last_line,
            started_usec=self.started_usec,
            ended_usec=(last.realtime_ns if last is not None else now) // 1000,
            duration_usec=max(0, ended - began) // 1000 if first is not None else 0,
            cpu_usec=last.cpu_usec if last is not None else 0,
            memory_peak=max(peak, 1024 * last.peak_kib) if last is not None else peak,
            output_bytes=output.total,
            output_dropped=output.dropped,
            leftovers=len(self._leftovers),
            survivors=self._survivors,
        )

    def _line(self, stream: str, data: bytes) -> None:
        self._tools.journal.send(
            records.OUTPUT,
            {"HOOKD_STREAM": stream, "OBJECT_PID": self._pid},
            context=self._line_context,
            detail=data.decode("utf-8", "surrogateescape"),
            identifier=self._plan.hook.name,
        )

    @property
    def _pid(self) -> int | None:
        return self._first.pid if self._first is not None else None

    def _say_left(self, pids: list[int]) -> None:
        names = ", ".join(tree.described(pid) for pid in pids[:SHOWN])
        self._tools.journal.send(
            records.RUN_LEFTOVERS,
            {"HOOKD_LEFTOVERS": len(pids)},
            context=self._context,
            detail=f"left {len(pids)} processes running: {names}",
        )

    def _say_stuck(self) -> None:
        left = [pid for pid in tree.below(self.launcher.pid) if tree.parent(pid)[1] not in "ZX"]
        self._survivors = len(left)
        names = ", ".join(tree.described(pid) for pid in left[:SHOWN])
        self._tools.journal.send(
            records.RUN_SURVIVORS,
            {"HOOKD_SURVIVORS": len(left)},
            context=self._context,
            detail=f"{len(left)} processes outlive SIGKILL: {names}",
        )

    def _in_time(self, report: Report) -> bool:
        """Whether a run that was taken for overdue had ended before its time limit after all."""
        if self._cause is None or self._cause.result is not Result.TIMEOUT or self._first is None:
            return False
        limit = int(self._plan.hook.limits.timeout * 1e9)
        return report.monotonic_ns - self._first.monotonic_ns <= limit

    async def _nothing_left(self, seconds: float) -> None:
        """Wait until the launcher has nothing left, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), seconds)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on with this, and with nothing that was begun before."""
        if self._task is not None:
            self._task.cancel()
        self._task = self._loop.create_task(work)
