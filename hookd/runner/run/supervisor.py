# SPDX-License-Identifier: LGPL-2.1-or-later
"""One run from its order to its receipt; it always ends with the whole run reaped.

The clean way is a handful of callbacks: ordered, started, ended with nothing left. Everything
else (a time limit, a cancel, leftovers, a dead launcher) is a coroutine that reads from top to
bottom: TERM to the whole tree, the grace, KILL, again until nothing is left.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from hookd.link import Start
from hookd.model import Receipt, Result
from hookd.runner.launch import abi
from hookd.runner.launch.pool import Launcher
from hookd.runner.launch.profile import Report, SpawnError
from hookd.runner.run import invocation
from hookd.runner.run.invocation import Guise, Invocation, PreparedHook
from hookd.runner.run.outcome import CANNOT_RUN, Cause, Course, spawn_words, unstarted_words
from hookd.runner.run.output import Output
from hookd.runner.run.preparation import Preparation, Prepared
from hookd.runner.run.termination import PATIENCE_SEC, Termination
from hookd.runner.run.tools import Tools
from hookd.system import faults, records
from hookd.system.journal import Context
from hookd.system.lookups import Unanswered
from hookd.system.trust import PathError

CANCEL_SEC = 1.0  # for a launcher to say what came of its order, when that is not wanted any more
LEFTOVER_GRACE_SEC = 1.0  # between TERM and KILL for what outlives its hook
FLUSH_SEC = 30.0  # for the journal, at the end of a run, to take its output
JOURNAL_WAIT_SEC = 2.0  # for a journal that does not take the record of a result
TRIES = 4  # launchers tried for a run that another process of its user keeps from being started


class Supervisor:
    """One run. `started(self)` is called at most once, `ended(self, receipt)` exactly once."""

    def __init__(
        self,
        tools: Tools,
        plan: PreparedHook,
        start: Start,
        started: Callable[[Supervisor], None],
        ended: Callable[[Supervisor, Receipt], None],
        printed: Callable[[str, str], None],
    ) -> None:
        self.run_id = start.run_id
        self.hook = start.hook
        self.launcher: Launcher
        self.kill_grace = plan.hook.limits.kill_grace  # seconds between TERM and KILL
        self.course = Course()
        self.unusable: str | None = None
        self.preparation: Preparation | None = None
        self._guise: Guise
        self._tools = tools
        self._plan = plan
        self._start = start
        self._on_started = started
        self._on_ended = ended
        self._on_printed = printed
        self._loop = asyncio.get_running_loop()
        self._context = invocation.minimal(start)
        self._line_contexts: dict[str, Context] = {}
        self._output = Output(
            plan.hook.limits.output, self._lines, tools.journal, lambda e: self.give_up(e)
        )
        self._termination: Termination
        self._ordered = self._failed = self._over = False
        self._deadline: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._tries = 0
        self._late: Cause | None = None

    @property
    def started_usec(self) -> int | None:
        """When the program was started, None before that."""
        first = self.course.first
        return first.realtime_ns // 1000 if first is not None else None

    def begin(self) -> None:
        """Have looked up what the hook needs, and then start it.

        Once more where a launcher left its order unread: by one that is made for it.
        """
        self._tries += 1
        if self._tries > 1:
            self._tools.pool.drop(self.launcher)
            self._output.discard()
            self._ordered = False
            if self.course.cause is not None or self._tries > TRIES:
                self._refuse("its launchers were changed or ended before they could start it")
                return
        self.preparation = self._tools.preparations.prepare(self._plan, self._prepared)

    def _prepared(self, answer: Prepared | Exception) -> None:
        """Start the hook, or end the run with the reason why that cannot be."""
        self.preparation = None
        try:
            if isinstance(answer, Exception):
                raise answer
            self._guise = guise = answer.guise
            given = Invocation(self._plan, guise, self._start)
            found = self._tools.pool.take(guise.profile) if self._tries == 1 else None
            self._context = given.fields
            if found is not None:
                self._order(found, answer.path, given)
            else:
                self._do(self._begin_anew(answer.path, given))
        except (PathError, LookupError, Unanswered) as e:
            self._refuse(str(e), unusable=True)
        except SpawnError as e:
            self._refuse(str(e))
        except Exception as e:  # whatever it is, it ends this run and no other
            faults.report(e, "the start of a run")
            self.give_up(e)

    def overstepped(self, limit: str, reason: str | None = None) -> None:
        """End the run at once: the watch found it beyond a limit on its whole tree."""
        self.end(Cause(Result.LIMIT, limit=limit, reason=reason), 0)

    async def _begin_anew(self, path: str, given: Invocation) -> None:
        try:
            made = await self._tools.pool.make(self._guise.profile)
        except SpawnError as e:
            self._refuse(str(e))
            return
        self._task = None
        if self.course.cause is None:
            self._order(made, path, given)
        else:  # cancelled meanwhile
            self._tools.pool.give_back(made)
            self._conclude()

    def _order(self, found: Launcher, path: str, given: Invocation) -> None:
        run = self._plan.hook.run
        self.launcher = found
        tools = self._tools
        self._termination = Termination(found, tools.slices, tools.journal, self._context)
        fds: list[int] = []
        try:
            if found.group is not None:
                found.group.begin()
            fds.append(invocation.stdin(self._plan, self._start))
            fds += self._output.open(self._guise.account.uid)
            found.listener = self._report
            self._tools.watch.add(self)
            self._set_deadline(self._loop.time())
            found.order(path, run.working_directory, run.umask, given.argv, given.env, fds)
            self._ordered = True
        except (OSError, SpawnError) as e:
            self._tools.pool.drop(found)
            self._refuse(str(e))
        except Exception:
            self._tools.pool.drop(found)
            raise
        finally:
            for fd in fds:
                os.close(fd)

    def _report(self, report: Report | None) -> None:
        """Take what the launcher says; None: it is dead."""
        course = self.course
        try:
            if report is None and course.first is None and self.launcher.unread:
                self.begin()  # again
            elif report is None:
                self._do(self._take_over())
            elif course.first is None and report.kind == abi.STARTED:
                self._has_started(report)
            elif course.first is None and report.kind in (abi.NO_DIRECTORY, abi.NOT_SPAWNED):
                self._tools.pool.give_back(self.launcher)
                reason = spawn_words(report, self._plan, self._guise.account.name)
                none = report.kind == abi.NO_DIRECTORY or report.status in CANNOT_RUN
                self._refuse(reason, unusable=none)
            elif course.first is not None and course.last is None and report.kind == abi.ENDED:
                self._has_ended(report)
            elif course.last is not None and report.kind == abi.EMPTY:
                course.last = msgspec.structs.replace(
                    course.last, cpu_usec=report.cpu_usec, peak_kib=report.peak_kib
                )
                self._termination.gone.set()
            else:
                self.launcher.kill()  # no launcher of ours says that
        except Exception as e:  # whatever it is, the run must not wait for its limit
            faults.report(e, "a launcher's report")
            self.give_up(e)

    def _has_started(self, report: Report) -> None:
        self.course.first = report
        # A run that is over by then is read at its end.
        self._loop.call_soon(_called, self, self._output.read)
        self._tools.journal.send(
            records.RUN_STARTED, {"OBJECT_PID": report.pid}, context=self._context
        )
        self._on_started(self)
        if self.course.cause is not None:  # cancelled while it was being started
            self._do(self._end(self.kill_grace))

    def _has_ended(self, report: Report) -> None:
        """The main process has ended, and with it the run, but for what it left behind."""
        self.course.last = report
        self.course.excuse(self._plan.hook.limits.timeout)
        if self._deadline is not None:
            self._deadline.cancel()
        self._output.finish()
        if not report.left:
            self._termination.gone.set()
        if self._task is not None:
            return  # somebody is at it: the event that was just set, or KILL, lets that go on
        if report.left:
            self._do(self._clear())
        else:
            self._leave()

    def _set_deadline(self, began: float) -> None:
        limit = self._plan.hook.limits.timeout
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_at(began + limit, _called, self, self._overstays)

    def _overstays(self) -> None:
        limits, first = self._plan.hook.limits, self.course.first
        reason = f"it ran longer than {limits.timeout:g} s"
        if first is None:
            # It was stopped before it read the order, or its directory or program is on a disk
            # that hangs: which of the two, its end tells.
            self._late = Cause(Result.TIMEOUT, reason=reason)
            self.launcher.kill()
            return
        if self._loop.time() - (began := first.monotonic_ns / 1e9) < limits.timeout:
            self._set_deadline(began)  # the order was a little earlier than the start
            return
        self.end(Cause(Result.TIMEOUT, reason=reason))

    def end(self, cause: Cause, grace: float | None = None) -> None:
        """End the run for this cause, unless it ends by itself first: TERM, grace, KILL."""
        if self.course.cause is not None or self.course.last is not None:
            return  # it ends already, and has one result
        self.course.cause = cause
        if self.course.first is not None:
            self._do(self._end(self.kill_grace if grace is None else grace))
        elif self.preparation is not None:
            self.preparation.forget()
            self.preparation = None
            self._refuse()
        elif self._deadline is not None:  # a launcher has the order
            self._deadline.cancel()
            self._deadline = self._loop.call_later(CANCEL_SEC, self._overstays)

    async def _end(self, grace: float) -> None:
        """End a run whose main process is alive."""
        if grace > 0:
            await self._termination.terminate(grace)
        await self._termination.kill(lambda: self.course.last is not None)
        self._leave()

    async def _clear(self) -> None:
        """Deal with what is left of a run whose main process has ended by itself."""
        work = self._termination
        kept = self._plan.hook.run.leftovers == "warn"
        if await work.take_stock() and not kept:
            await work.terminate(min(LEFTOVER_GRACE_SEC, self.kill_grace))
        if not work.leftovers or not kept:
            await work.kill(lambda: True)
        self._leave(kept=kept)

    async def _take_over(self) -> None:
        """End what is left of a run whose launcher was killed: it has come to the runner."""
        course, orphans = self.course, self._tools.orphans
        course.cause = course.cause or self._late
        course.orphaned = True
        strays = orphans.heirless()
        if course.first is None and strays:  # killed before it could say that the program started
            self._has_started(Report.now(abi.STARTED, strays[0]))
        group = self.launcher.group
        estate = await orphans.clear(course.pid or 0, PATIENCE_SEC, group)
        self._termination.outlived(estate.left)
        if course.first is None:
            self._tools.pool.drop(self.launcher)
            cause = course.cause
            if cause is not None and cause.result is Result.TIMEOUT:
                self._refuse(unstarted_words(self._plan), unusable=True)
            else:
                self._refuse("its launcher died before it could start it")
            return
        if course.pid not in estate.found:  # it had ended before the others were
            self._termination.note(estate.found)
        self._output.finish()
        if course.last is None:
            course.last = estate.last
            hit = group.limit_hit() if group is not None else None
            course.cause = course.cause or (
                Cause(Result.LIMIT, limit=hit)
                if hit is not None
                else Cause(Result.SIGNALLED, reason="the launcher that it ran under was killed")
            )
        self._leave()

    def _leave(self, *, kept: bool = False) -> None:
        """Part with the launcher, and end the run. `kept`: what is left of it may stay."""
        pool, found, group = self._tools.pool, self.launcher, self.launcher.group
        self._termination.put_down(self.course)
        if self._termination.leftovers:
            self._termination.report(kept=kept)
        if not found.alive:
            pool.drop(found)
        elif not self._termination.gone.is_set():
            self._tools.survivors.take(found, kept=kept)
        elif group is not None and not group.clean:
            pool.drop(found)
        else:
            pool.give_back(found)
        self._task = None
        self._conclude()

    def _refuse(self, reason: str = "", unusable: bool = False) -> None:
        """End a run that was not started: for this reason, unless it was told to end before.

        `unusable`: neither could another run of the hook be started now.
        """
        cause = self.course.cause
        self._output.finish()
        if cause is None or cause.result not in (Result.CANCELLED, Result.INTERRUPTED):
            self.course.cause = Cause(Result.SPAWN_FAILED, reason=reason)
            self.unusable = reason if unusable else None
        self._conclude()

    def _conclude(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._tools.watch.remove(self)
        if self._output.waiting:
            self._do(self._conclude_later())
        else:
            self._certify()

    async def _conclude_later(self) -> None:
        await self._output.flush(FLUSH_SEC)
        self._task = None
        self._certify()

    def _certify(self) -> None:
        """Make the receipt, write it to the journal and then tell the runner."""
        receipt = self.course.receipt(self._plan.hook.limits, self._output)
        self._tools.journal.send(
            records.RUN_ENDED,
            {**records.receipt_fields(receipt), "OBJECT_PID": self.course.pid},
            context=self._context,
            detail=records.receipt_words(receipt),
            priority=records.PRIORITY[receipt.result],
        )
        self._over = True
        if self._tools.journal.flushed:
            _tell(self, receipt, self._on_ended)
        else:
            self._do(self._tell_later(receipt))

    async def _tell_later(self, receipt: Receipt) -> None:
        await self._tools.journal.flush(JOURNAL_WAIT_SEC)
        _tell(self, receipt, self._on_ended)

    def _lines(self, stream: str, lines: list[bytes]) -> None:
        context = self._line_contexts.get(stream)
        if context is None:
            context = self._line_contexts[stream] = invocation.line_fields(self._start, stream)
        texts = [records.printable_bytes(line) for line in lines]
        self._tools.journal.lines(texts, self._plan.hook.name, context)
        if self._start.event.test:
            for text in texts:
                self._on_printed(stream, text)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on with this, and with nothing that was begun before."""
        if self._task is not None:
            self._task.cancel()
        self._task = self._loop.create_task(_guarded(self, work))

    def give_up(self, error: Exception) -> None:
        """End the run for an error of hookd's own, which must leave neither it nor us waiting.

        What the program's own end says, or why it was ended, is its result, whatever else went
        wrong; where neither is known the run was interrupted. Only a run of which no program has
        started could not be started.
        """
        if self._over:
            return  # it has its result
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None
        course = self.course
        course.own_error = course.own_error or faults.words(error)
        if course.cause is None and course.last is None:
            result = Result.INTERRUPTED if self._ordered else Result.SPAWN_FAILED
            course.cause = Cause(result, reason=course.own_error)
        attached = self._ordered and self.launcher.listener == self._report
        if attached and self.launcher.alive and not self._failed:
            self._failed = True
            self.launcher.kill()  # what it had comes to the runner, and is ended from there
            return
        if attached:
            faults.guarded("an end", lambda: self._tools.pool.drop(self.launcher))
        self._over = True
        faults.guarded("an end", self._output.finish)
        result = course.cause.result if course.cause is not None else Result.INTERRUPTED
        now = time.time_ns() // 1000
        bare = Receipt(result=result, reason=course.own_error, ended_usec=now)
        faults.guarded("an end", self._conclude, lambda _: self._on_ended(self, bare))


def _tell(run: Supervisor, receipt: Receipt, ended: Callable[[Supervisor, Receipt], None]) -> None:
    """Tell of a run's end, and once more after an error: nothing comes after this that could."""
    faults.guarded("the end of a run", lambda: ended(run, receipt), lambda _: ended(run, receipt))


def _called(run: Supervisor, act: Callable[[], object]) -> None:
    faults.guarded("a run", act, run.give_up)


async def _guarded(run: Supervisor, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as e:  # whatever it is, the run must end and be reported
        faults.report(e, "a run")
        run.give_up(e)
