# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is left of a run: counted, named, and ended, whatever it does about it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

from hookd import records
from hookd.journal import Context, Journal
from hookd.runner import tree
from hookd.runner.spawn import Launcher

PATIENCE_SEC = 5.0  # of KILL until what is still there counts as stuck in the kernel
FIRST_PAUSE_SEC, LAST_PAUSE_SEC = 0.005, 0.2  # between two rounds of KILL
SHOWN = 10  # processes that a record names


class Remains:
    """The processes of one run below its launcher.

    `gone` is set by the supervisor when the launcher says that nothing is left. `leftovers` are
    the PIDs that were alive after the main process, `survivors` the number that nothing ended.
    """

    def __init__(self, launcher: Launcher, journal: Journal, context: Context) -> None:
        self.gone = asyncio.Event()
        self.leftovers: set[int] = set()
        self.survivors = 0
        self._launcher = launcher
        self._journal = journal
        self._context = context

    def count(self) -> int:
        """Take those that are alive now for leftovers; return how many there are in all."""
        self.leftovers.update(tree.living_below(self._launcher.pid))
        return len(self.leftovers)

    def report(self) -> None:
        """Write to the journal that leftovers stay, as the hook's file wants it."""
        self._journal.send(
            records.RUN_LEFTOVERS,
            {"HOOKD_LEFTOVERS": len(self.leftovers)},
            context=self._context,
            detail=f"left {len(self.leftovers)} processes running: {_names(self.leftovers)}",
        )

    async def terminate(self, grace: float) -> None:
        """Send TERM to all, also to what is stopped, and wait so many seconds for their end."""
        tree.signal_below(self._launcher.pid, signal.SIGTERM, signal.SIGCONT)
        await self._nothing_left(grace)

    async def kill(self, ended: Callable[[], bool]) -> None:
        """Send KILL to all, again until nothing is left or patience is over.

        `ended`: whether the main process has, so that the others count as leftovers.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE_SEC
        pause = FIRST_PAUSE_SEC
        while not self.gone.is_set() and self._launcher.alive:
            found = tree.signal_below(self._launcher.pid, signal.SIGKILL)
            if ended():
                self.leftovers.update(found)
            if loop.time() > give_up:
                self._stuck()
                return
            await self._nothing_left(pause)
            if pause >= LAST_PAUSE_SEC and self._launcher.group is not None:
                self._launcher.group.kill()
            pause = min(2 * pause, LAST_PAUSE_SEC)

    def _stuck(self) -> None:
        left = tree.living_below(self._launcher.pid)
        self.survivors = len(left)
        self._journal.send(
            records.RUN_SURVIVORS,
            {"HOOKD_SURVIVORS": len(left)},
            context=self._context,
            detail=f"{len(left)} processes outlive SIGKILL: {_names(left)}",
        )

    async def _nothing_left(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), seconds)


def _names(pids: list[int] | set[int]) -> str:
    shown = [tree.described(pid) for pid in sorted(pids)[:SHOWN]]
    return ", ".join(shown) + (", ..." if len(pids) > SHOWN else "")
