# SPDX-License-Identifier: LGPL-2.1-or-later
"""Events whose runs have not all ended, and those who wait for them.

In memory only: everything here can be made anew from the books.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from dataclasses import dataclass, field

from hookd.errors import ShuttingDown
from hookd.link import Output
from hookd.model import HookRun, Phase, RunState
from hookd.server.schedule import Ticket


@dataclass(slots=True, eq=False)
class LiveRun:
    """A run that has not ended: what the outside sees, the schedule's ticket, the event.

    `runner` is the instance it has been handed to, on disk; None before that. `ending`: its
    result is on the way to the disk.
    """

    run: HookRun
    ticket: Ticket
    event: LiveEvent
    runner: str | None = None
    ending: bool = False


@dataclass(slots=True, eq=False)
class LiveEvent:
    """One event of a job until its last run has ended. `refusal` is a gate's reason."""

    job: int
    job_id: int
    phase: Phase
    runs: dict[int, HookRun] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    gates: set[int] = field(default_factory=set)
    refusal: str | None = None
    _followers: set[Follower] = field(default_factory=set)

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

    def changed(self, run: HookRun) -> None:
        """Tell all followers that a run has changed."""
        if run.state is RunState.ENDED:
            self.open.discard(run.run_id)
            self.gates.discard(run.run_id)
        for follower in self._followers:
            follower.note(copy.copy(run))

    def printed(self, line: Output) -> None:
        """Tell those who want it what a run has printed."""
        for follower in self._followers:
            if follower.output:
                follower.note(line)

    def follow(self, output: bool = False) -> Follower:
        """Return a view of the changes from now on; `close` it when done."""
        follower = Follower(self, output)
        self._followers.add(follower)
        return follower

    def abandon(self) -> None:
        """Tell all followers that nothing more will come."""
        for follower in self._followers:
            follower.abandon()


class Follower:
    """Somebody who waits for an event's runs, and perhaps for what they print."""

    def __init__(self, event: LiveEvent, output: bool) -> None:
        self.output = output
        self._event = event
        self._changes: deque[HookRun | Output] = deque()
        self._wakeup: asyncio.Future[None] | None = None
        self._abandoned = False

    def note(self, change: HookRun | Output) -> None:
        """Remember a change, and wake the one who waits."""
        self._changes.append(change)
        self._wake()

    def abandon(self) -> None:
        """Wake the one who waits, for the last time."""
        self._abandoned = True
        self._wake()

    async def change(self) -> HookRun | Output | None:
        """Return the next change, None when all runs have ended. Raises ShuttingDown."""
        while not self._changes:
            if not self._event.open:
                return None
            await self._wait()
        return self._changes.popleft()

    async def decided(self) -> None:
        """Wait until the gates have decided. Raises ShuttingDown."""
        while not self._event.decided:
            await self._wait()

    async def ended(self) -> None:
        """Wait until all runs have ended. Raises ShuttingDown."""
        while self._event.open:
            self._changes.clear()
            await self._wait()

    def close(self) -> None:
        """Stop following."""
        self._event._followers.discard(self)

    async def _wait(self) -> None:
        if self._abandoned:
            raise ShuttingDown
        self._wakeup = asyncio.get_running_loop().create_future()
        await self._wakeup

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)
