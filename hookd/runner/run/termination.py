# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts, names and ends the processes that are left of a run, until none is."""

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

PATIENCE_SEC = 5.0  # of rounds of KILL, after which what is alive counts as a survivor
FIRST_PAUSE_SEC, LAST_PAUSE_SEC = 0.005, 0.2  # between two rounds of KILL
LONGEST_PAUSE_SEC = 30.0  # between two rounds of KILL for survivors
SHOWN = 10  # processes that one record names at most


class Termination:
    """The processes of one run below its launcher.

    The supervisor sets `gone` when the launcher reports that nothing is left. `leftovers` holds
    the PIDs of processes that outlived the main process; `survivors` is the number of processes
    that outlived KILL. `names` describes the first SHOWN leftovers.
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
        """Count the processes that are alive now as leftovers; return the number of them all."""
        self.note(await self._slices.gather(process_tree.living(self._launcher.pid)))
        return len(self.leftovers)

    def note(self, pids: Collection[int]) -> None:
        """Count these processes as leftovers, and note the names of the first while they exist."""
        for pid in pids:
            if pid not in self.leftovers:
                self.leftovers.add(pid)
                if len(self.names) < SHOWN:
                    self.names.append(process.named(pid))

    def report(self, *, kept: bool) -> None:
        """Record the leftovers: `kept` alive, as the hook's file says, or ended."""
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
        """Send TERM to all processes, continue stopped ones, and wait `grace` seconds at most."""
        await self._slices.gather(
            process_tree.signal_listed(self._launcher.pid, signal.SIGTERM, signal.SIGCONT)
        )
        await self._nothing_left(grace)

    async def kill(self, ended: Callable[[], bool]) -> None:
        """Stop and kill all processes in rounds, until none is left or PATIENCE_SEC have passed.

        `ended` tells whether the main process has ended, so that the others count as leftovers.
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
        """Count these processes as survivors, and record them if there are any."""
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
        """Note what the run has used and left, while its launcher and group still exist."""
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
    """The launchers that still have processes after the end of their run was reported."""

    def __init__(self, pool: Pool, slices: Slices, orphans: Orphans) -> None:
        self._pool = pool
        self._slices = slices
        self._orphans = orphans
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, launcher: Launcher, *, kept: bool) -> None:
        """Keep a launcher until its last process is gone; kill the processes unless `kept`."""
        launcher.listener = lambda _report: self._gone(launcher)
        if not kept:
            task = faults.keep("the end of survivors", partial(self._kill, launcher))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop killing, and leave the processes to their launchers."""
        for task in list(self._tasks):
            task.cancel()

    async def _kill(self, launcher: Launcher) -> None:
        pause = LAST_PAUSE_SEC
        while launcher.alive:
            await asyncio.sleep(pause)
            await self._slices.gather(process_tree.end(launcher.pid))
            pause = min(2 * pause, LONGEST_PAUSE_SEC)

    def _gone(self, launcher: Launcher) -> None:
        """Drop a launcher that has nothing left or is dead."""
        self._pool.drop(launcher)
        self._orphans.stir()


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _listed(names: list[str], count: int) -> str:
    return ", ".join(names) + (", ..." if count > len(names) else "")
