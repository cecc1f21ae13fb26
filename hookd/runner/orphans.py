# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes whose launcher was killed by the very hook it ran: they come to the runner.

The runner is the reaper of last resort (PR_SET_CHILD_SUBREAPER). A hook that attacks its launcher
is not given a chance to go on: what comes here is killed and reaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal

from hookd.runner import tree
from hookd.runner.spawn import Pool

PAUSE = 0.01  # seconds between two rounds
REMEMBERED = 1000  # ends that nobody has asked for: most strays are no run's main process


class Orphans:
    """Kills and reaps strays, and keeps how they ended for the run that asks."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._ended: dict[int, tuple[int, resource.struct_rusage]] = {}

    async def clear(self, patience: float) -> int:
        """End all strays; return how many are still there after so many seconds."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + patience
        while (left := self._sweep()) and loop.time() < give_up:
            await asyncio.sleep(PAUSE)
        return left

    def ended(self, pid: int) -> tuple[int, resource.struct_rusage] | None:
        """Return the wait status and usage of a stray that was reaped; told once."""
        return self._ended.pop(pid, None)

    def _sweep(self) -> int:
        strays = self._pool.strays()
        for pid in strays:  # children that nobody has reaped: their numbers are still theirs
            tree.signal_below(pid, signal.SIGKILL)
            with contextlib.suppress(PermissionError):
                os.kill(pid, signal.SIGKILL)
            reaped, status, usage = os.wait4(pid, os.WNOHANG)
            if reaped:
                self._ended[pid] = status, usage
                if len(self._ended) > REMEMBERED:
                    del self._ended[next(iter(self._ended))]
        return len(self._pool.strays())
