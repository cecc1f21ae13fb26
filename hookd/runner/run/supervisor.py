# SPDX-License-Identifier: LGPL-2.1-or-later
"""One run from its order to its run report: what is done in each phase.

A run whose program ends by itself and leaves nothing needs only callbacks: a task and its futures
for every run would cost the runner about a tenth of its speed. Every other phase that waits (for a
new launcher, the end of all processes, leftovers, orphans, a slow journal) has one coroutine,
which is cancelled when the run leaves the phase. On every path the processes of the run are reaped
and the run report is delivered once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from hookd.link import Start
from hookd.model import Receipt, Result
from hookd.runner.launch import abi
from hookd.runner.launch.pool import Launcher
from hookd.runner.launch.profile import Report, SpawnError
from hookd.runner.run import invocation
from hookd.runner.run.closing import Closing
from hookd.runner.run.invocation import HookSpec, Invocation
from hookd.runner.run.launch import Launch
from hookd.runner.run.outcome import CANNOT_RUN, Cause, Observed, spawn_words, unstarted_words
from hookd.runner.run.output import Output, OutputLines
from hookd.runner.run.phases import CLOSING, LAUNCHED, ORPHANS_LEFT, UNLAUNCHED, P, RunState
from hookd.runner.run.resolver import Resolution, Resolved
from hookd.runner.run.services import Services
from hookd.runner.run.termination import PATIENCE_SEC
from hookd.system import faults, records
from hookd.system.lookups import Unanswered
from hookd.system.trust import PathError

CANCEL_SEC = 1.0  # that a launcher has to report on its order once the run was cancelled
MAX_LAUNCHERS = 4  # tried for one run if other processes of its user interfere with them


class Supervisor:
    """One run. `started(self)` is called at most once, `ended(self, receipt)` exactly once.

    `observed` is what is known of the run. `unusable` is the reason why no run of the hook could
    be started now; it is None if this run says nothing about the next.
    """

    def __init__(
        self,
        services: Services,
        spec: HookSpec,
        start: Start,
        started: Callable[[Supervisor], None],
        ended: Callable[[Supervisor, Receipt], None],
        printed: Callable[[str, str], None],
    ) -> None:
        self.run_id = start.run_id
        self.hook = start.hook
        self.kill_grace = spec.hook.limits.kill_grace  # seconds between TERM and KILL
        self.observed = Observed()
        self.unusable: str | None = None
        self._services = services
        self._spec = spec
        self._start = start
        self._on_started = started
        self._loop = asyncio.get_running_loop()
        self._context = invocation.minimal(start)
        lines = OutputLines(start, services.journal, printed)
        self._output = Output(
            spec.hook.limits.output, lines.pass_on, services.journal, self.give_up
        )
        self._state = RunState(start.run_id, self.give_up)
        self._closing = Closing(
            self._state,
            self.observed,
            spec.hook.limits,
            self._output,
            services.journal,
            lambda receipt: ended(self, receipt),
        )
        self._timer = faults.Timer(lambda: self._guarded(self._timed_out))
        self._resolution: Resolution | None = None  # while RESOLVING
        self._launch: Launch | None = None  # from ORDERED until the launcher is given back
        self._launchers = 0  # number of launchers that were tried

    @property
    def started_usec(self) -> int | None:
        """When the program was started, None before that."""
        first = self.observed.first
        return first.realtime_ns // 1000 if first is not None else None

    @property
    def launcher(self) -> Launcher | None:
        """The launcher that has the run, or None."""
        return self._launch.launcher if self._launch is not None else None

    @property
    def resolving(self) -> bool:
        """Whether the look-ups of the run's program and account are unfinished."""
        return self._state.phase is P.RESOLVING

    def begin(self) -> None:
        """Look up what the hook needs, then start it."""
        self._state.enter(P.RESOLVING)
        self._resolution = self._services.resolver.resolve(self._spec, self._resolved)

    def _begin_again(self) -> None:
        """Try another launcher: the last one died with its order unread."""
        self._drop()
        self._services.limit_poller.remove(self)
        self._output.discard()
        if self.observed.cause is not None or self._launchers >= MAX_LAUNCHERS:
            self._refuse("its launchers were changed or ended before they could start it")
        else:
            self.begin()

    def _resolved(self, answer: Resolved | Exception) -> None:
        """Start the hook, or end the run with the reason why it cannot be started."""
        self._resolution = None
        try:
            if isinstance(answer, Exception):
                raise answer
            given = Invocation(self._spec, answer.settings, self._start)
            self._context = given.fields
            pool, profile = self._services.pool, answer.settings.profile
            # If a launcher was interfered with, idle ones may be too: only a new one will do.
            idle = pool.take(profile) if self._launchers == 0 else None
            if idle is not None:
                self._order(Launch(self._services, idle, answer, given))
            else:
                self._state.enter(P.FORKING, lambda: self._fork(answer, given))
        except (PathError, LookupError, Unanswered) as e:
            self._refuse(str(e), unusable=True)
        except SpawnError as e:
            self._refuse(str(e))
        except Exception as e:  # any error ends this run and no other
            faults.report(e, "the start of a run")
            self.give_up(e)

    async def _fork(self, resolved: Resolved, given: Invocation) -> None:
        """Make a launcher, and give it the order unless the run was cancelled meanwhile."""
        try:
            launcher = await self._services.pool.make(resolved.settings.profile)
        except SpawnError as e:
            self._refuse(str(e))
            return
        launch = Launch(self._services, launcher, resolved, given)
        if self.observed.cause is None:
            self._order(launch)
        else:
            launch.give_back()
            self._refuse()

    def _order(self, launch: Launch) -> None:
        """Give the launcher the order to start the program."""
        self._launch = launch
        self._launchers += 1
        try:
            self._services.limit_poller.add(self)
            self._timer.at(self._loop.time() + self._spec.hook.limits.timeout)
            launch.order(self._spec, self._start, self._output, self._report)
            self._state.enter(P.ORDERED)
        except (OSError, SpawnError) as e:
            self._drop()
            self._refuse(str(e))

    def _report(self, report: Report | None) -> None:
        """Handle a report of the launcher. None means that the launcher is dead."""
        observed, launch = self.observed, self._launch
        if launch is None:
            return  # the run has given up its launcher
        try:
            if report is None:
                self._launcher_died(launch)
            elif observed.first is None and report.kind == abi.STARTED:
                self._has_started(report)
            elif observed.first is None and report.kind in (abi.NO_DIRECTORY, abi.NOT_SPAWNED):
                self._could_not_start(launch, report)
            elif observed.first is not None and observed.last is None and report.kind == abi.ENDED:
                self._has_ended(launch, report)
            elif observed.last is not None and report.kind == abi.EMPTY:
                observed.last = msgspec.structs.replace(
                    observed.last, cpu_usec=report.cpu_usec, peak_kib=report.peak_kib
                )
                launch.termination.gone.set()
            else:
                launch.launcher.kill()  # a launcher of hookd's never reports this
        except Exception as e:  # whatever the error, the run must not wait for its time limit
            faults.report(e, "a launcher's report")
            self.give_up(e)

    def _could_not_start(self, launch: Launch, report: Report) -> None:
        if self._state.phase is P.ORDERED:
            self._launch = None
            launch.give_back()
        else:  # the launcher was killed
            self._drop()
        reason = spawn_words(report, self._spec, launch.account.name)
        unusable = report.kind == abi.NO_DIRECTORY or report.status in CANNOT_RUN
        self._refuse(reason, unusable=unusable)

    def _has_started(self, report: Report) -> None:
        """Note and report that the program has started."""
        self.observed.first = report
        # Reading starts in the next turn: a run that has ended by then is read at its end only.
        self._loop.call_soon(self._guarded, self._output.read)
        self._services.journal.send(
            records.RUN_STARTED, {"OBJECT_PID": report.pid}, context=self._context
        )
        self._on_started(self)
        if self._state.phase is P.ORDERED:
            self._state.enter(P.RUNNING)
            if self.observed.cause is not None:  # cancelled while it was being started
                self._state.enter(P.TERMINATING, lambda: self._terminate(self.kill_grace))

    def _has_ended(self, launch: Launch, report: Report) -> None:
        """Note that the main process has ended. The run then ends too, but for its leftovers."""
        self.observed.last = report
        self.observed.excuse(self._spec.hook.limits.timeout)
        self._timer.cancel()
        self._output.finish()
        if not report.left:
            launch.termination.gone.set()
        if self._state.phase is P.RUNNING:  # otherwise the phase's coroutine notices it
            if report.left:
                self._state.enter(P.CLEARING, self._clear)
            else:
                self._leave()

    def _timed_out(self) -> None:
        limits, first, launcher = self._spec.hook.limits, self.observed.first, self.launcher
        if self._state.phase is P.ORDERED and launcher is not None:
            # Either the launcher was stopped before it read the order, or the directory or the
            # program is on a file system that hangs. The launcher's end tells which.
            self._state.enter(P.OVERDUE)
            launcher.kill()
        elif self._state.phase is P.RUNNING and first is not None:
            began = first.monotonic_ns / 1e9
            if self._loop.time() - began < limits.timeout:
                # The timer counts from the order, which precedes the start a little.
                self._timer.at(began + limits.timeout)
            else:
                self.end(Cause(Result.TIMEOUT, reason=_too_long(limits.timeout)))

    def end(self, cause: Cause, grace: float | None = None) -> None:
        """End the run for this cause unless it has ended: TERM, then KILL after `grace`.

        `grace` is in seconds, None for limits.kill_grace.
        """
        if self.observed.cause is not None or self.observed.last is not None:
            return  # the run is ending already, and has one result
        self.observed.cause = cause
        if self._state.phase is P.RUNNING:
            seconds = self.kill_grace if grace is None else grace
            self._state.enter(P.TERMINATING, lambda: self._terminate(seconds))
        elif self._state.phase is P.RESOLVING:
            self._refuse()
        elif self._state.phase is P.ORDERED:
            self._timer.cancel()
            self._timer.within(CANCEL_SEC)

    async def _terminate(self, grace: float) -> None:
        """End a run whose main process is alive."""
        assert self._launch is not None
        await self._launch.terminate(grace, lambda: self.observed.last is not None)
        self._leave()

    async def _clear(self) -> None:
        """Handle the leftovers of a run whose main process has ended by itself."""
        assert self._launch is not None
        keep = self._spec.hook.run.leftovers == "warn"
        await self._launch.clear(self.kill_grace, keep=keep)
        self._leave(keep=keep)

    def _launcher_died(self, launch: Launch) -> None:
        observed, overdue = self.observed, self._state.phase is P.OVERDUE
        waiting = self._state.phase in (P.ORDERED, P.OVERDUE)
        if waiting and observed.first is None and launch.launcher.unread:
            self._begin_again()
            return
        if overdue and observed.cause is None:
            reason = _too_long(self._spec.hook.limits.timeout)
            observed.cause = Cause(Result.TIMEOUT, reason=reason)
        self._state.enter(P.ORPHANED, lambda: self._clear_orphans(launch))

    async def _clear_orphans(self, launch: Launch) -> None:
        """End the orphans of a run whose launcher was killed. They are the runner's children."""
        observed, orphans = self.observed, self._services.orphans
        observed.orphaned = True
        unclaimed = orphans.unclaimed()
        if observed.first is None and unclaimed:  # killed before it could report the start
            self._has_started(Report.now(abi.STARTED, unclaimed[0]))
        group = launch.launcher.group
        found = await orphans.clear(observed.pid or 0, PATIENCE_SEC, group)
        launch.termination.outlived(found.left)
        if observed.first is None:
            self._drop()
            if observed.cause is not None and observed.cause.result is Result.TIMEOUT:
                self._refuse(unstarted_words(self._spec), unusable=True)
            else:
                self._refuse("its launcher died before it could start it")
            return
        if observed.pid not in found.found:  # the main process had ended before the others
            launch.termination.note(found.found)
        self._output.finish()
        if observed.last is None:
            observed.last = found.last
            hit = group.limit_hit() if group is not None else None
            observed.cause = observed.cause or (
                Cause(Result.LIMIT, limit=hit)
                if hit is not None
                else Cause(Result.SIGNALLED, reason="the launcher that it ran under was killed")
            )
        self._leave()

    def _leave(self, *, keep: bool = False) -> None:
        """Give up the launcher and end the run. With `keep`, leftovers may stay."""
        launch = self._launch
        assert launch is not None
        launch.termination.measure(self.observed)
        if launch.termination.leftovers:
            launch.termination.report(kept=keep)
        launch.release(keep=keep)
        self._launch = None
        self._conclude()

    def _refuse(self, reason: str = "", unusable: bool = False) -> None:
        """End a run that was not started, for this reason unless it was cancelled or interrupted.

        `unusable` means that no other run of the hook could be started now either.
        """
        cause = self.observed.cause
        self._output.finish()
        if cause is None or cause.result not in (Result.CANCELLED, Result.INTERRUPTED):
            self.observed.cause = Cause(Result.SPAWN_FAILED, reason=reason)
            self.unusable = reason if unusable else None
        self._conclude()

    def _conclude(self) -> None:
        """Record and report the end of the run. None of its processes is left."""
        self._timer.cancel()
        if self._resolution is not None:
            self._resolution.forget()
            self._resolution = None
        self._services.limit_poller.remove(self)
        self._closing.begin(self._context)

    def _drop(self) -> None:
        """End the launcher and everything below it."""
        launch, self._launch = self._launch, None
        if launch is not None:
            launch.drop()

    def _guarded(self, act: Callable[[], object]) -> None:
        faults.guarded("a run", act, self.give_up)

    def give_up(self, error: Exception) -> None:
        """End the run because of a fault, so that neither the run nor the server waits.

        If the program has ended or a cause for ending it is known, that decides the result. If
        not, the result is `interrupted`, or `spawn-failed` if no launcher had the order.
        """
        observed, launch, phase = self.observed, self._launch, self._state.phase
        if phase in CLOSING:
            self._closing.give_up(error)
            return
        observed.own_error = observed.own_error or faults.words(error)
        if observed.cause is None and observed.last is None:
            result = Result.SPAWN_FAILED if phase in UNLAUNCHED else Result.INTERRUPTED
            observed.cause = Cause(result, reason=observed.own_error)
        if phase in LAUNCHED and launch is not None and launch.has(self._report):
            # The launcher's processes become the runner's children, which ends them.
            self._state.enter(P.FAULTED)
            if faults.guarded("an end", launch.launcher.kill):
                return
        faults.guarded("an end", self._drop)
        if phase in ORPHANS_LEFT:
            faults.guarded("an end", self._services.orphans.stir)
        faults.guarded("an end", self._output.finish)
        faults.guarded("an end", self._conclude, self._closing.give_up)


def _too_long(seconds: float) -> str:
    return f"it ran longer than {seconds:g} s"
