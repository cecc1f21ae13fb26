# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs that have not ended, their events, and those who wait for them.

In memory only: everything here can be made anew from the books.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from hookd.config import Config
from hookd.errors import InternalError, ShuttingDown
from hookd.link import Printed, Start
from hookd.model import HookRun, Job, Phase, Receipt, RunState
from hookd.server.schedule import Ticket, hook_ticket


class LiveRun(msgspec.Struct, eq=False):
    """A run that has not ended: what the outside sees, the schedule's ticket, the event.

    `runner` is the instance that it is handed over to; None before that. `start` is what that one
    is still to be sent. `cancelled`: why it is to end, which the runner may not have heard.
    `ending`: its result is on the way to the disk. `faults`: errors of hookd's own on its way to
    the runner. `retry_due`: the moment of the loop's clock from which its next attempt may start,
    where there is to be one. `refusal` is what its end means for the job. `deadline`: the moment
    of that clock at which a gate must have decided, with all its attempts; `overdue`: it had not,
    and its job is decided without it.
    """

    run: HookRun
    ticket: Ticket
    event: LiveEvent
    runner: str | None = None
    start: Start | None = None
    cancelled: str | None = None
    ending: bool = False
    faults: int = 0
    retry_due: float | None = None
    refusal: str | None = None
    deadline: float | None = None
    overdue: bool = False


class LiveEvent(msgspec.Struct, eq=False):
    """One event of a job until its last run has ended.

    `refusal` is a gate's reason. `abandoned`: hookd stops, and nobody may wait any more.
    """

    job: int
    job_id: int
    phase: Phase
    runs: dict[int, HookRun] = {}
    open: set[int] = set()
    gates: set[int] = set()
    refusal: str | None = None
    abandoned: bool = False
    _followers: set[Follower] = set()

    @property
    def decided(self) -> bool:
        """Whether the gates have let the job pass, or one has refused it."""
        return not self.gates or self.refusal is not None

    def add(self, run: HookRun, gate: bool) -> None:
        """Take in a run that has not ended."""
        self.runs[run.run_id] = run
        self.open.add(run.run_id)
        if gate:
            self.gates.add(run.run_id)

    def decide(self, run_id: int, refusal: str | None) -> None:
        """Wait no more for a gate whose time to decide is over; `refusal` where that is a no."""
        self.gates.discard(run_id)
        self.open.discard(run_id)
        if self.refusal is None:
            self.refusal = refusal
        for follower in self._followers:
            follower.wake()

    def changed(self, run: HookRun) -> None:
        """Tell all followers that a run has changed."""
        if run.state is RunState.ENDED:
            self.open.discard(run.run_id)
            self.gates.discard(run.run_id)
        for follower in self._followers:
            follower.changed(run)

    def printed(self, line: Printed) -> None:
        """Tell those who want it what a run has printed."""
        for follower in self._followers:
            follower.printed(line)

    def follow(self, changes: bool = False, output: bool = False) -> Follower:
        """Return a view from now on, perhaps of each change and output; `close` it when done."""
        follower = Follower(self, changes, output)
        self._followers.add(follower)
        return follower

    def fail(self, fault: InternalError) -> None:
        """Tell all followers of an error of hookd's own; who asks later waits for what is left."""
        for follower in self._followers:
            follower.fail(fault)

    def abandon(self) -> None:
        """Tell all followers, now and later, that nothing more will come."""
        self.abandoned = True
        for follower in self._followers:
            follower.wake()


class Follower:
    """Somebody who waits for an event's runs, and perhaps for all that happens to them."""

    __slots__ = ("_changes", "_event", "_fault", "_over", "_told", "_told_output", "_wakeup")

    def __init__(self, event: LiveEvent, changes: bool, output: bool) -> None:
        self._event = event
        self._fault: InternalError | None = None
        self._told = changes
        self._told_output = output
        self._over: Callable[[], bool] = lambda: False  # whether the wait is
        self._changes: deque[HookRun | Printed] = deque()
        self._wakeup: asyncio.Future[None] | None = None

    def changed(self, run: HookRun) -> None:
        """Wake the one who waits, where this is what he waits for."""
        if self._told:
            self._changes.append(copy.copy(run))
            self.wake()
        elif self._over():
            self.wake()

    def printed(self, line: Printed) -> None:
        """Pass a line of output on to one who wants it."""
        if self._told_output:
            self._changes.append(line)
            self.wake()

    async def change(self) -> HookRun | Printed | None:
        """Return the next change, None when all runs have ended. Raises ShuttingDown."""
        while not self._changes:
            if self._fault is not None:
                raise self._fault
            if not self._event.open:
                return None
            await self._wait()
        return self._changes.popleft()

    async def decided(self) -> None:
        """Wait until the gates have decided. Raises ShuttingDown."""
        await self._until(lambda: self._event.decided)

    async def ended(self) -> None:
        """Wait until all runs have ended. Raises ShuttingDown."""
        await self._until(lambda: not self._event.open)

    def close(self) -> None:
        """Stop following."""
        self._event._followers.discard(self)

    async def _until(self, over: Callable[[], bool]) -> None:
        self._over = over
        while not over():
            await self._wait()
        if self._fault is not None:
            raise self._fault

    async def _wait(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self._event.abandoned:
            raise ShuttingDown
        self._wakeup = asyncio.get_running_loop().create_future()
        await self._wakeup

    def fail(self, fault: InternalError) -> None:
        """End the wait with an error."""
        self._fault = fault
        self.wake()

    def wake(self) -> None:
        """Have the one who waits look again."""
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)


class Roster:
    """All runs that have not ended, by their ID. `observe` is told when one starts or ends.

    `open_jobs` are the keys of all jobs that have not, so that nobody has to look for them.
    """

    def __init__(self, config: Config) -> None:
        self.observe: Callable[[int, HookRun], None] = lambda _job_id, _run: None
        self.open_jobs: set[int] = set()
        self._config = config
        self._runs: dict[int, LiveRun] = {}
        self._events: dict[tuple[int, Phase], LiveEvent] = {}
        self._abandoned = False

    def configure(self, config: Config) -> None:
        """Take a new configuration: it holds for runs that come from now on."""
        self._config = config

    def __getitem__(self, run_id: int) -> LiveRun:
        return self._runs[run_id]

    def get(self, run_id: int) -> LiveRun | None:
        """Return a run, None where it has ended."""
        return self._runs.get(run_id)

    def all(self) -> list[LiveRun]:
        """Return every run."""
        return list(self._runs.values())

    def event(self, job: int, phase: Phase) -> LiveEvent | None:
        """Return an event of a job, None where all its runs have ended."""
        return self._events.get((job, phase))

    def admit(
        self, run: HookRun, job: int, job_id: int, overlap_key: str, replay: bool, test: bool
    ) -> Ticket:
        """Take in a run. A replay decides nothing: its job is long decided."""
        order, gate = hook_ticket(self._config.hooks.get(run.hook))
        ticket = Ticket(
            run_id=run.run_id,
            job=job,
            phase=run.phase,
            hook=run.hook,
            attempt=run.attempt,
            order=order,
            gate=gate and run.phase is Phase.START and not replay,
            overlap_key=overlap_key,
            test=test,
        )
        event = self._events.get((job, run.phase))
        if event is None:
            event = LiveEvent(job, job_id, run.phase, abandoned=self._abandoned)
            self._events[job, run.phase] = event
        event.add(run, ticket.gate)
        self._runs[run.run_id] = LiveRun(run, ticket, event)
        return ticket

    def started(self, run_id: int, usec: int | None) -> None:
        """Note that a run's program has started, when that is known."""
        live = self._runs.get(run_id)
        if live is not None and usec is not None and not live.ending:
            live.run.state = RunState.RUNNING
            live.run.started_usec = usec
            live.event.changed(live.run)
            self.observe(live.event.job_id, live.run)

    def ended(self, live: LiveRun, receipt: Receipt) -> None:
        """Let a run go, and its event with the last one."""
        del self._runs[live.run.run_id]
        event = live.event
        _fill_in(live.run, receipt)
        event.changed(live.run)
        self.observe(event.job_id, live.run)
        key = event.job, event.phase
        if not event.open and self._events.get(key) is event:
            del self._events[key]

    def forget(self, run_id: int) -> None:
        """Let a run go of which no more is to be told; the books have it."""
        live = self._runs.pop(run_id, None)
        if live is None:
            return
        event = live.event
        event.open.discard(run_id)
        event.gates.discard(run_id)
        key = event.job, event.phase
        if not event.open and self._events.get(key) is event:
            del self._events[key]

    def bring_up_to_date(self, jobs: Iterable[Job]) -> None:
        """Put what is known of live runs in the place of what the books say of them."""
        for job in jobs:
            for at, run in enumerate(job.hooks):
                live = self._runs.get(run.run_id)
                if live is not None:
                    job.hooks[at] = live.run

    def abandon(self) -> None:
        """Send away all who wait, now and later."""
        self._abandoned = True
        for event in self._events.values():
            event.abandon()


def _fill_in(run: HookRun, receipt: Receipt) -> None:
    run.state = RunState.ENDED
    for name in Receipt.__struct_fields__:
        if name != "last_line":
            setattr(run, name, getattr(receipt, name))
