# SPDX-License-Identifier: LGPL-2.1-or-later
"""What has changed lately, for those who subscribe: a short memory, numbered without a gap.

Subscribers read at their own pace from one shared memory, so that none of them, however slow,
costs more than its place in it.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque

import msgspec

from hookd.errors import ShuttingDown
from hookd.model import Event, HookRun, Outcome, Phase
from hookd.system import faults

AT_ONCE = 256  # notices of one reply: some hundred kB
GATHER_SEC = 0.05  # after a notice, for more of them: a hundred subscribers are as many replies
KEPT = 2048  # notices: minutes of a busy server, one or two megabytes
PROFILE_SHOWN = 200  # characters of a profile or user in a notice: GetJob has the whole


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One change: of a job (`run` is None) or of a run."""

    seq: int
    usec: int
    job_id: int
    phase: Phase
    profile: str | None = None
    user: str | None = None
    client_ip: str | None = None
    outcome: Outcome | None = None
    run: HookRun | None = None


class ChangeFeed:
    """The memory. Numbers begin at the moment of the start in microseconds: none comes twice."""

    def __init__(self, usec: int) -> None:
        self._notices: deque[Notice] = deque(maxlen=KEPT)
        self._next = usec
        self._wakeup: asyncio.Future[None] | None = None
        self._gathered = faults.Timer(self._wake)
        self._closed = False

    @property
    def newest(self) -> int:
        """The number of the last notice."""
        return self._next - 1

    @property
    def oldest(self) -> int:
        """The number of the oldest notice that is remembered; of the next one where none is."""
        return self._notices[0].seq if self._notices else self._next

    def job(self, event: Event, usec: int) -> None:
        """Remember that a job has started or ended."""
        self._remember(
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
        """Remember that a run has started or ended."""
        self._remember(
            Notice(seq=self._next, usec=usec, job_id=job_id, phase=run.phase, run=copy.copy(run))
        )

    def after(self, seq: int) -> list[Notice]:
        """Return what came next after a number, as far as it is remembered."""
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
        """Send all subscribers away."""
        self._closed = True
        self._gathered.cancel()
        self._wake()

    def _remember(self, notice: Notice) -> None:
        self._notices.append(notice)
        self._next += 1
        if self._wakeup is not None:
            self._gathered.within(GATHER_SEC)

    def _wake(self) -> None:
        if self._wakeup is not None:
            self._wakeup.set_result(None)
            self._wakeup = None
