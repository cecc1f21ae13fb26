# SPDX-License-Identifier: LGPL-2.1-or-later
"""Gates decide in time: where one has not, `on_error` does, whatever the gate waits for.

The time is kept on the loop's clock, which nobody can set. No run is started or ended here.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable
from functools import partial

from hookd import faults
from hookd.config import Config
from hookd.errors import HookdError
from hookd.model import Phase, RunState
from hookd.server.ends import AGAIN_SEC, Ends
from hookd.server.lifecycle import time_to_decide
from hookd.server.live import LiveEvent, LiveRun, Roster
from hookd.server.schedule import Decision, Schedule
from hookd.server.starts import Starts
from hookd.server.store import Store

OVERDUE = "its job was decided without it: its time was over"
REFUSED = "the start of its job was refused"
WRITE_SEC = 1.0  # for the disk to take a decision before it is told all the same


class Gates:
    """The deadlines of all gates. `carry_out` gets what follows from a decision.

    A decision is told once it is on disk, or when the disk fails or takes too long: after a crash
    the same deadline, being over, leads to the same decision.
    """

    def __init__(
        self,
        config: Config,
        schedule: Schedule,
        roster: Roster,
        starts: Starts,
        ends: Ends,
        store: Store,
        carry_out: Callable[[Iterable[Decision]], None],
    ) -> None:
        self._config = config
        self._schedule = schedule
        self._roster = roster
        self._starts = starts
        self._ends = ends
        self._store = store
        self._carry_out = carry_out
        self._loop = asyncio.get_running_loop()
        self._deadlines: list[tuple[float, int, LiveRun]] = []
        self._order = itertools.count()  # so that no two entries of a moment are compared further
        self._timer = faults.Timer(self._due)

    def configure(self, config: Config) -> None:
        """Take a new configuration: it holds for gates that come from now on."""
        self._config = config

    def watch(self, live: LiveRun, since: float, least: float = 0.0) -> None:
        """See to it that a run, if it is a gate's, decides in time, its event being on disk since.

        `least`: the seconds that it has from now on, at any rate.
        """
        hook = self._config.hooks.get(live.run.hook)
        if live.ticket.gate and hook is not None:
            deadline = max(since + time_to_decide(hook), self._loop.time() + least)
            self._keep(live, deadline)

    def follow(self, live: LiveRun, earlier: LiveRun) -> None:
        """See to it that a gate's next attempt decides by the deadline of the earlier one."""
        if live.ticket.gate and earlier.deadline is not None:
            self._keep(live, earlier.deadline)

    def close(self) -> None:
        """Decide nothing more: hookd stops, and its next start has the same deadlines."""
        self._deadlines.clear()
        self._timer.cancel()

    def _keep(self, live: LiveRun, deadline: float) -> None:
        live.deadline = deadline
        heapq.heappush(self._deadlines, (deadline, next(self._order), live))
        self._arm()

    def _arm(self) -> None:
        """Keep a timer for the first deadline of a gate that has not ended."""
        while self._deadlines and not _undecided(self._deadlines[0][2]):
            heapq.heappop(self._deadlines)
        if self._starts.stopping or not self._deadlines:
            self._timer.cancel()
        elif self._timer.when != self._deadlines[0][0]:
            self._timer.at(self._deadlines[0][0])

    def _due(self) -> None:
        now = self._loop.time()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, live = heapq.heappop(self._deadlines)
            if _undecided(live):
                faults.guarded("a gate's deadline", partial(self._decide, live, now))
        self._arm()

    def _decide(self, live: LiveRun, now: float) -> None:
        if live.ending and live.retry_due is None:
            # It has decided: the disk is late, not the gate.
            self._tell(live, live.refusal)
            return
        hook = self._config.hooks.get(live.run.hook)
        seconds = time_to_decide(hook) if hook is not None else 0.0
        refusal = self._ends.overdue(live, seconds, self._obstacle(live, now))
        told = False

        def tell() -> None:
            nonlocal told
            if not told and not self._starts.stopping:
                told = True
                timer.cancel()
                self._tell(live, refusal)

        timer = self._loop.call_later(WRITE_SEC, tell)
        self._write(live.run.run_id, refusal, tell)

    def _write(self, run_id: int, refusal: str | None, tell: Callable[[], None]) -> None:
        """Write a decision, for as long as it takes; tell of it after the first attempt."""
        now = self._ends.now()

        def done(outcome: HookdError | None) -> None:
            if outcome is not None and not self._starts.stopping:
                self._loop.call_later(AGAIN_SEC, self._write, run_id, refusal, tell)
            tell()

        self._store.submit(lambda books: books.runs.overdue(run_id, refusal, now), done)

    def _tell(self, live: LiveRun, refusal: str | None) -> None:
        """Let a job go on, or refuse it, without its gate."""
        event, ticket = live.event, live.ticket
        if live.run.state is RunState.ENDED or ticket.run_id not in self._schedule:
            return
        event.decide(ticket.run_id, refusal)
        if refusal is not None:
            self._roster.open_jobs.discard(event.job)
        decisions = [] if live.ending else self._schedule.cancel([ticket], OVERDUE)
        decisions += self._schedule.decided(ticket.run_id, self._loop.time())
        self._carry_out([*decisions, *refused(self._schedule, event)])

    def _obstacle(self, live: LiveRun, now: float) -> str:
        """Return in words what keeps a gate from deciding."""
        if self._starts.instance is None:
            return "the runner is not connected"
        if live.run.state is RunState.RUNNING:
            return "it runs and has not ended"
        if live.runner is not None:
            return "the runner was told to start it, and has not answered"
        if not self._starts.ready:
            return "server and runner have not read the same configuration"
        if live.ticket.taken:
            return "the database does not take its start"
        return self._schedule.obstacle(live.ticket, now)


def refused(schedule: Schedule, event: LiveEvent) -> list[Decision]:
    """Return what ends because a gate has refused the event's job, if one has.

    An end that came before the refusal is an event like any other: its hooks run.
    """
    if event.refusal is None:
        return []
    tickets = schedule.of_job(event.job)
    waiting = [one for one in tickets if one.phase is Phase.START and not one.taken]
    return schedule.cancel(waiting, REFUSED)


def _undecided(live: LiveRun) -> bool:
    return live.run.state is not RunState.ENDED and live.ticket.gate and not live.overdue
