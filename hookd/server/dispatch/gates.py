# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deadlines of gates: if a gate has not decided in time, its `on_error` decides for it.

Deadlines are kept on the loop's monotonic clock, which nobody can set. No run is started or ended
here.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable
from functools import partial

from hookd.config.parse import Config
from hookd.errors import HookdError
from hookd.server.dispatch.handover import Handover
from hookd.server.dispatch.results import RETRY_SEC, Results
from hookd.server.runs.policy import time_to_decide
from hookd.server.runs.registry import RunRegistry
from hookd.server.runs.run import Run, RunPhase
from hookd.server.runs.scheduler import Decision, Scheduler
from hookd.server.storage.store import Store
from hookd.system import faults

OVERDUE = "its job was decided without it: its time was over"
WRITE_SEC = 1.0  # for the disk to take a decision, before the client is answered all the same


class Gates:
    """The deadlines of all gates. `carry_out` is called with what follows from a decision.

    A decision takes effect once it is on disk, or when the disk fails or takes too long: after a
    crash, the same deadline has passed and leads to the same decision.
    """

    def __init__(
        self,
        config: Config,
        scheduler: Scheduler,
        registry: RunRegistry,
        handover: Handover,
        results: Results,
        store: Store,
        carry_out: Callable[[Iterable[Decision]], None],
    ) -> None:
        self._config = config
        self._scheduler = scheduler
        self._registry = registry
        self._handover = handover
        self._results = results
        self._store = store
        self._carry_out = carry_out
        self._loop = asyncio.get_running_loop()
        self._deadlines: list[tuple[float, int, Run]] = []
        self._order = itertools.count()  # so that runs are never compared
        self._timer = faults.Timer(self._due)

    def configure(self, config: Config) -> None:
        """Take a new configuration; it applies to gates that come from now on."""
        self._config = config

    def watch(self, run: Run, since: float, least: float = 0.0) -> None:
        """Set the deadline of a run if it is a gate. `since`: when its event was on disk.

        `least` is the number of seconds that the gate has from now on in any case.
        """
        hook = self._config.hooks.get(run.hook)
        if run.gate and hook is not None:
            deadline = max(since + time_to_decide(hook), self._loop.time() + least)
            self._keep(run, deadline)

    def inherit(self, run: Run, earlier: Run) -> None:
        """Give a gate's next attempt the deadline of the earlier one."""
        if run.gate and earlier.deadline is not None:
            self._keep(run, earlier.deadline)

    def close(self) -> None:
        """Decide nothing more, because hookd stops: its next start has the same deadlines."""
        self._deadlines.clear()
        self._timer.cancel()

    def _keep(self, run: Run, deadline: float) -> None:
        run.deadline = deadline
        heapq.heappush(self._deadlines, (deadline, next(self._order), run))
        self._arm()

    def _arm(self) -> None:
        """Set the timer for the first deadline of a gate that has not ended."""
        while self._deadlines and not _undecided(self._deadlines[0][2]):
            heapq.heappop(self._deadlines)
        if self._handover.stopping or not self._deadlines:
            self._timer.cancel()
        elif self._timer.when != self._deadlines[0][0]:
            self._timer.at(self._deadlines[0][0])

    def _due(self) -> None:
        now = self._loop.time()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, run = heapq.heappop(self._deadlines)
            if _undecided(run):
                faults.guarded(
                    "a gate's deadline", partial(self._decide, run, now),
                    partial(self._decide_plainly, run),
                )  # fmt: skip
        self._arm()

    def _decide(self, run: Run, now: float) -> None:
        if run.over and run.retry_at is None:
            # The gate has decided, and only the disk is late.
            self._apply(run, run.refusal)
            return
        hook = self._config.hooks.get(run.hook)
        seconds = time_to_decide(hook) if hook is not None else 0.0
        self._pass_on(run, self._results.overdue(run, seconds, self._obstacle(run, now)))

    def _decide_plainly(self, run: Run, error: Exception) -> None:
        """Decide as `on_error` says, because the decision met an error of hookd's own."""
        run.overdue = True
        hook = self._config.hooks.get(run.hook)
        refusal = run.refusal or f"gate {run.hook} could not decide: {faults.words(error)}"
        self._pass_on(run, None if hook is not None and hook.on_error == "allow" else refusal)

    def _pass_on(self, run: Run, refusal: str | None) -> None:
        """Write a decision and apply it. An error in either does not keep it from the job."""
        applied = False

        def apply() -> None:
            nonlocal applied
            if not applied and not self._handover.stopping:
                self._apply(run, refusal)
                applied = True
                timer.cancel()

        timer = faults.Timer(apply)
        timer.within(WRITE_SEC)
        self._write(run.run_id, refusal, apply)

    def _write(self, run_id: int, refusal: str | None, apply: Callable[[], None]) -> None:
        """Write a decision, however many attempts it takes; apply it after the first one."""
        now = self._results.now()

        def done(outcome: HookdError | None) -> None:
            if outcome is not None and not self._handover.stopping:
                again.within(RETRY_SEC)
            apply()

        again = faults.Timer(partial(self._write, run_id, refusal, apply))
        self._store.submit(lambda db: db.runs.overdue(run_id, refusal, now), done)

    def _apply(self, run: Run, refusal: str | None) -> None:
        """Let a job go on without its gate, or refuse it."""
        event = run.event
        if not run.known:
            return
        event.decide(run.run_id, refusal)
        if refusal is not None:
            self._registry.open_jobs.discard(event.job)
        decisions = [] if run.over else self._scheduler.cancel([run], OVERDUE)
        decisions += self._scheduler.decided(run, self._loop.time())
        if event.refusal is not None:
            decisions += self._scheduler.refused(event.job)
        self._carry_out(decisions)

    def _obstacle(self, run: Run, now: float) -> str:
        """Return in words why a gate has not decided."""
        if self._handover.instance is None:
            return "the runner is not connected"
        if run.phase is RunPhase.RUNNING:
            return "it runs and has not ended"
        if run.runner is not None:
            return "the runner was asked to start it and has not answered"
        if not self._handover.ready:
            return "server and runner have not read the same configuration"
        if run.phase is RunPhase.CLAIMED:
            return "the database does not take its start"
        return self._scheduler.obstacle(run, now)


def _undecided(run: Run) -> bool:
    return run.phase is not RunPhase.ENDED and run.gate and not run.overdue
