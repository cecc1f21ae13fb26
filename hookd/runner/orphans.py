# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes whose launcher was killed by the very hook it ran: they come to the runner.

The runner is the reaper of last resort (PR_SET_CHILD_SUBREAPER). A hook that attacks its launcher
is not given a chance to go on: what comes here is killed and reaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from hookd.runner import tree
from hookd.runner.abi import ENDED
from hookd.runner.profile import Report
from hookd.runner.spawn import Pool

PAUSE_SEC = 0.01  # between two rounds
REMEMBERED = 1000  # ends that nobody has asked for: most strays are no run's main process


class Orphans:
    """Kills and reaps strays, and keeps how they ended for the run that asks."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._ended: dict[int, Report] = {}

    async def clear(self, patience: float) -> tuple[set[int], list[int]]:
        """End all strays; return those that were alive, and those that are after the seconds."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + patience
        found: set[int] = set()
        while strays := self._pool.strays():
            if loop.time() > give_up:
                return found, strays
            self._sweep(strays, found)
            await asyncio.sleep(PAUSE_SEC)
        return found, []

    def ended(self, pid: int) -> Report | None:
        """Return how a stray ended, as its launcher would have said it; told once."""
        return self._ended.pop(pid, None)

    def _sweep(self, strays: list[int], found: set[int]) -> None:
        for pid in strays:  # children that nobody has reaped: their numbers are still theirs
            found.update(tree.signal_below(pid, signal.SIGKILL))
            if tree.status(pid).alive:
                found.add(pid)
            with contextlib.suppress(PermissionError):
                os.kill(pid, signal.SIGKILL)
            reaped, status, usage = os.wait4(pid, os.WNOHANG)
            if reaped:
                cpu = int((usage.ru_utime + usage.ru_stime) * 1e6)
                self._ended[pid] = Report.now(ENDED, pid, status, cpu, usage.ru_maxrss)
                if len(self._ended) > REMEMBERED:
                    del self._ended[next(iter(self._ended))]
