# SPDX-License-Identifier: LGPL-2.1-or-later
"""An event whose runs have not ended, and the clients that wait for them.

In memory only: everything here can be made anew from the database.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable

import msgspec

from hookd.errors import InternalError, ShuttingDown
from hookd.link import Printed
from hookd.model import HookRun, Phase, RunState


class JobEvent(msgspec.Struct, eq=False):
    """One event of a job until its last run has ended.

    `job` is the job's key in the database. `runs` holds all runs of the event by their number,
    `open` those that have not ended, and `gates` the gates among these. `refusal` is the reason of
    the gate that refused the job. `abandoned` is true once hookd stops: nobody may wait any more.
    """

    job: int
    job_id: int
    phase: Phase
    runs: dict[int, HookRun] = {}
    open: set[int] = set()
    gates: set[int] = set()
    refusal: str | None = None
    abandoned: bool = False
    _watchers: set[Watcher] = set()

    @property
    def decided(self) -> bool:
        """Whether all gates have let the job pass, or one has refused it."""
        return not self.gates or self.refusal is not None

    def add(self, run: HookRun, gate: bool) -> None:
        """Add a run that has not ended."""
        self.runs[run.run_id] = run
        self.open.add(run.run_id)
        if gate:
            self.gates.add(run.run_id)

    def decide(self, run_id: int, refusal: str | None) -> None:
        """Go on without a gate whose deadline has passed; with `refusal`, refuse the job."""
        self.gates.discard(run_id)
        self.open.discard(run_id)
        if self.refusal is None:
            self.refusal = refusal
        for watcher in self._watchers:
            watcher.wake()

    def changed(self, run: HookRun) -> None:
        """Notify the watchers that a run has changed."""
        if run.state is RunState.ENDED:
            self.open.discard(run.run_id)
            self.gates.discard(run.run_id)
        for watcher in self._watchers:
            watcher.changed(run)

    def printed(self, line: Printed) -> None:
        """Pass a line that a run has printed to the watchers that want output."""
        for watcher in self._watchers:
            watcher.printed(line)

    def watch(self, changes: bool = False, output: bool = False) -> Watcher:
        """Return a watcher, on request of each change and of output; the caller closes it."""
        watcher = Watcher(self, changes, output)
        self._watchers.add(watcher)
        return watcher

    def fail(self, fault: InternalError) -> None:
        """End all present waits with an error of hookd's own; later ones are not affected."""
        for watcher in self._watchers:
            watcher.fail(fault)

    def abandon(self) -> None:
        """End all waits, present and future, because hookd stops."""
        self.abandoned = True
        for watcher in self._watchers:
            watcher.wake()


class Watcher:
    """A client that waits for the runs of an event, and on request sees each of their changes."""

    __slots__ = (
        "_changes", "_done", "_event", "_fault", "_wakeup", "_wants_changes", "_wants_output",
    )  # fmt: skip

    def __init__(self, event: JobEvent, changes: bool, output: bool) -> None:
        self._event = event
        self._fault: InternalError | None = None
        self._wants_changes = changes
        self._wants_output = output
        self._done: Callable[[], bool] = lambda: False  # whether the wait is over
        self._changes: deque[HookRun | Printed] = deque()
        self._wakeup: asyncio.Future[None] | None = None

    def changed(self, run: HookRun) -> None:
        """Wake the client if it waits for this change."""
        if self._wants_changes:
            self._changes.append(copy.copy(run))
            self.wake()
        elif self._done():
            self.wake()

    def printed(self, line: Printed) -> None:
        """Keep a line of output for a client that wants output."""
        if self._wants_output:
            self._changes.append(line)
            self.wake()

    async def change(self) -> HookRun | Printed | None:
        """Return the next change, None when all runs have ended.

        Raises ShuttingDown, or InternalError after `fail`.
        """
        while not self._changes:
            if self._fault is not None:
                raise self._fault
            if not self._event.open:
                return None
            await self._wait()
        return self._changes.popleft()

    async def decided(self) -> None:
        """Wait until the gates have decided. Raises ShuttingDown or InternalError."""
        await self._until(lambda: self._event.decided)

    async def ended(self) -> None:
        """Wait until all runs have ended. Raises ShuttingDown or InternalError."""
        await self._until(lambda: not self._event.open)

    def close(self) -> None:
        """Stop watching."""
        self._event._watchers.discard(self)

    async def _until(self, done: Callable[[], bool]) -> None:
        self._done = done
        while not done():
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
        """Have the client check again."""
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)
