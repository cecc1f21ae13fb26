# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is left of a run: counted, named, and ended, for as long as anything of it is there."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Collection
from functools import partial

from hookd.runner.launch import process, process_tree
from hookd.runner.launch.orphans import Orphans
from hookd.runner.launch.pool import Launcher, Pool
from hookd.runner.launch.slices import Slices
from hookd.runner.run.outcome import Observed
from hookd.system import faults, records
from hookd.system.journal import Context, Journal

PATIENCE_SEC = 5.0  # of KILL until what is still there counts as stuck in the kernel
FIRST_PAUSE_SEC, LAST_PAUSE_SEC = 0.005, 0.2  # between two rounds of KILL
LONGEST_PAUSE_SEC = 30.0  # between two rounds for what has outlived those seconds
SHOWN = 10  # processes that a record names


class Termination:
    """The processes of one run below its launcher.

    `gone` is set by the supervisor when the launcher says that nothing is left. `leftovers` are
    the PIDs that were alive after the main process, `survivors` the number that nothing ended.
    """

    def __init__(
        self, launcher: Launcher, slices: Slices, journal: Journal, context: Context
    ) -> None:
        self.gone = asyncio.Event()
        self.leftovers: set[int] = set()
        self.survivors = 0
        self.names: list[str] = []
        self._launcher = launcher
        self._launchers_cpu = process.cpu_usec(launcher.pid) if launcher.group is not None else 0
        self._slices = slices
        self._journal = journal
        self._context = context

    async def take_stock(self) -> int:
        """Take those that are alive now for leftovers; return how many there are in all."""
        self.note(await self._slices.gather(process_tree.living(self._launcher.pid)))
        return len(self.leftovers)

    def note(self, pids: Collection[int]) -> None:
        """Take these for leftovers, and the first of them by name while they have one."""
        for pid in pids:
            if pid not in self.leftovers:
                self.leftovers.add(pid)
                if len(self.names) < SHOWN:
                    self.names.append(process.named(pid))

    def report(self, *, kept: bool) -> None:
        """Write to the journal which leftovers there were: `kept` alive, as the hook's file wants
        it, or ended."""
        count = len(self.leftovers)
        what = "left {} running" if kept else "ended {} that it had left running"
        self._journal.send(
            records.RUN_LEFTOVERS,
            {"HOOKD_LEFTOVERS": count},
            context=self._context,
            detail=f"{what.format(_processes(count))}: {_listed(self.names, count)}",
            priority=records.WARNING if kept else records.NOTICE,
        )

    async def terminate(self, grace: float) -> None:
        """Send TERM to all, also to what is stopped, and wait so many seconds for their end."""
        await self._slices.gather(
            process_tree.signal_listed(self._launcher.pid, signal.SIGTERM, signal.SIGCONT)
        )
        await self._nothing_left(grace)

    async def kill(self, ended: Callable[[], bool]) -> None:
        """Stop and kill all, again until nothing is left or patience is over.

        `ended`: whether the main process has, so that the others count as leftovers.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE_SEC
        pause = FIRST_PAUSE_SEC
        while not self.gone.is_set() and self._launcher.alive:
            found = await self._slices.gather(process_tree.end(self._launcher.pid))
            if ended():
                self.note(found)
            if loop.time() > give_up:
                await self._stuck()
                return
            await self._nothing_left(pause)
            if pause >= LAST_PAUSE_SEC and self._launcher.group is not None:
                self._launcher.group.kill()
            pause = min(2 * pause, LAST_PAUSE_SEC)

    async def _stuck(self) -> None:
        self.outlived(await self._slices.gather(process_tree.living(self._launcher.pid)))

    def outlived(self, pids: Collection[int]) -> None:
        """Take these for survivors, and say so where there are any."""
        self.survivors = len(pids)
        if pids:
            shown = [process.described(pid) for pid in list(pids)[:SHOWN]]
            self._journal.send(
                records.RUN_SURVIVORS,
                {"HOOKD_SURVIVORS": len(pids)},
                context=self._context,
                detail=f"{_processes(len(pids))} outlived SIGKILL: {_listed(shown, len(pids))}",
            )

    def measure(self, observed: Observed) -> None:
        """Note what the run has used and left, while its launcher and group can still tell."""
        group = self._launcher.group
        observed.leftovers, observed.survivors = len(self.leftovers), self.survivors
        if group is not None:
            observed.hit = group.limit_hit()
            cause = observed.cause.limit if observed.cause is not None else None
            observed.group_peak = group.peak(reached="memory" in (observed.hit, cause))
            own = max(0, process.cpu_usec(self._launcher.pid) - self._launchers_cpu)
            observed.group_cpu_usec = max(0, group.cpu_usec() - own)

    async def _nothing_left(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), seconds)


class Survivors:
    """Launchers whose processes are still there when the end of their run has been told."""

    def __init__(self, pool: Pool, slices: Slices, orphans: Orphans) -> None:
        self._pool = pool
        self._slices = slices
        self._orphans = orphans
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, launcher: Launcher, *, kept: bool) -> None:
        """Have a launcher until the last of its processes is gone; go on killing unless `kept`."""
        launcher.listener = lambda _report: self._gone(launcher)
        if not kept:
            task = faults.keep("the end of survivors", partial(self._kill, launcher))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Leave what is left to its launchers."""
        for task in list(self._tasks):
            task.cancel()

    async def _kill(self, launcher: Launcher) -> None:
        pause = LAST_PAUSE_SEC
        while launcher.alive:
            await asyncio.sleep(pause)
            await self._slices.gather(process_tree.end(launcher.pid))
            pause = min(2 * pause, LONGEST_PAUSE_SEC)

    def _gone(self, launcher: Launcher) -> None:
        """Part with a launcher that has nothing left, or that is dead."""
        self._pool.drop(launcher)
        self._orphans.stir()


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _listed(names: list[str], count: int) -> str:
    return ", ".join(names) + (", ..." if count > len(names) else "")
