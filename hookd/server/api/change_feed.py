# SPDX-License-Identifier: LGPL-2.1-or-later
"""The latest changes, numbered without a gap, for subscribers.

All subscribers read from one buffer at their own speed, so that a slow one needs memory only for
its position.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque

from hookd.errors import ShuttingDown
from hookd.manager_api import Notice
from hookd.model import Event, HookRun
from hookd.system import faults

AT_ONCE = 256  # notices in one reply: some hundred kB
GATHER_SEC = 0.05  # to collect more notices after one, since each subscriber gets its own reply
KEPT = 2048  # notices: some minutes of a busy server, one or two megabytes
PROFILE_SHOWN = 200  # characters of a profile or user in a notice; GetJob returns all of them


class ChangeFeed:
    """The buffer. Numbers start at the time in microseconds, so that no restart repeats any."""

    def __init__(self, usec: int) -> None:
        self._notices: deque[Notice] = deque(maxlen=KEPT)
        self._next = usec
        self._wakeup: asyncio.Future[None] | None = None
        self._gathering = faults.Timer(self._wake)
        self._closed = False

    @property
    def newest(self) -> int:
        """The number of the last notice."""
        return self._next - 1

    @property
    def oldest(self) -> int:
        """The number of the oldest notice in the buffer, or of the next one if it is empty."""
        return self._notices[0].seq if self._notices else self._next

    def job(self, event: Event, usec: int) -> None:
        """Add the start or the end of a job."""
        self._add(
            Notice(
                seq=self._next,
                usec=usec,
                job_id=event.job_id,
                phase=event.phase,
                profile=event.profile[:PROFILE_SHOWN],
                user=event.user[:PROFILE_SHOWN],
                client_ip=event.client_ip,
                outcome=event.outcome,
            )
        )

    def run(self, job_id: int, run: HookRun, usec: int) -> None:
        """Add the start or the end of a run."""
        self._add(
            Notice(seq=self._next, usec=usec, job_id=job_id, phase=run.phase, run=copy.copy(run))
        )

    def after(self, seq: int) -> list[Notice]:
        """Return the next notices after a number that are in the buffer."""
        skip = max(0, seq + 1 - self.oldest)
        end = min(skip + AT_ONCE, len(self._notices))
        return [self._notices[n] for n in range(skip, end)]

    async def news(self) -> None:
        """Wait for the next notice. Raises ShuttingDown."""
        if self._closed:
            raise ShuttingDown
        if self._wakeup is None:
            self._wakeup = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._wakeup)
        if self._closed:
            raise ShuttingDown

    def close(self) -> None:
        """End the waits of all subscribers."""
        self._closed = True
        self._gathering.cancel()
        self._wake()

    def _add(self, notice: Notice) -> None:
        self._notices.append(notice)
        self._next += 1
        if self._wakeup is not None:
            self._gathering.within(GATHER_SEC)

    def _wake(self) -> None:
        if self._wakeup is not None:
            self._wakeup.set_result(None)
            self._wakeup = None
