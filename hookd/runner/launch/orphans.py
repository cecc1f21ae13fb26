# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kills and reaps orphans: processes whose launcher is gone, because their hook killed it.

Orphans become children of the runner (PR_SET_CHILD_SUBREAPER). A hook that attacks its launcher
must not go on: its orphans are killed and reaped until no more arrive. The parent or the session
of an orphan tells which run it belongs to. If neither is known, it is counted with the run whose
launcher died last.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

from hookd.runner.launch import process, process_tree
from hookd.runner.launch.abi import ENDED
from hookd.runner.launch.cgroup import Group
from hookd.runner.launch.pool import Pool
from hookd.runner.launch.profile import Report
from hookd.runner.launch.slices import Slices
from hookd.system import faults

FIRST_PAUSE_SEC, LAST_PAUSE_SEC = 0.01, 0.2  # between two rounds while a run waits for them
LONGEST_PAUSE_SEC = 30.0  # between two rounds while no run waits
REMEMBERED = 1000  # ends kept for runs that may ask: most orphans are no run's main process


class OrphanedRun:
    """The orphans of one launcher. `main` is the PID of the run's main process, 0 if unknown.

    `last` is the report of the main process's end. `found` holds the PIDs that were alive, and
    `left` those that are still alive when `clear` stops waiting. `waiting` tells whether the
    current round has found any of them. `settled` is set after a round that found none.
    """

    def __init__(self, main: int) -> None:
        self.main = main
        self.last: Report | None = None
        self.found: set[int] = set()
        self.left: list[int] = []
        self.waiting = False
        self.settled = asyncio.Event()


class Orphans:
    """Kills and reaps orphans, and keeps their ends for the run that asks."""

    def __init__(self, pool: Pool, slices: Slices) -> None:
        self._pool = pool
        self._slices = slices
        self._ended: dict[int, Report] = {}
        self._owners: dict[int, OrphanedRun] = {}
        self._open: list[OrphanedRun] = []
        self._awake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def unclaimed(self) -> list[int]:
        """Return the PIDs of orphans that are not known to belong to a run, the oldest first."""
        return [pid for pid in self._pool.strays() if pid not in self._owners]

    async def clear(self, main: int, patience: float, group: Group | None) -> OrphanedRun:
        """End the orphans that the launcher of this main process left; wait `patience` seconds.

        Orphans that are still alive then are killed in later rounds. After a fifth of the time the
        kernel kills everything in the run's control group: processes may fork and exit faster than
        a slow machine lists them, so that they are gone before they are signalled.
        """
        run = OrphanedRun(main)
        run.last = self._ended.pop(main, None)
        self._open.append(run)
        self._owners[main] = run
        self.stir()
        loop = asyncio.get_running_loop()
        last = None if group is None else loop.call_later(patience / 5, group.kill)
        try:
            await asyncio.wait_for(run.settled.wait(), patience)
        except TimeoutError:
            run.left = await self._slices.gather(self._left(run))
        finally:
            if last is not None:
                last.cancel()
            self._open.remove(run)
            self._owners = {p: one for p, one in self._owners.items() if one is not run}
        return run

    def stir(self) -> None:
        """Look for orphans now, because a launcher has died."""
        self._awake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    def close(self) -> None:
        """Stop, and leave the remaining orphans to the service manager."""
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        """Do rounds until no orphan is left."""
        pause = FIRST_PAUSE_SEC
        while True:
            if self._awake.is_set():
                self._awake.clear()
                pause = FIRST_PAUSE_SEC
            try:
                left = await self._go_round()
            except Exception as e:  # whatever the error, the next round tries all of them again
                faults.report(e, "the end of orphans")
                left = True
            if not left and not self._awake.is_set():
                return
            try:
                await asyncio.wait_for(self._awake.wait(), pause)
            except TimeoutError:
                pause = min(2 * pause, LAST_PAUSE_SEC if self._open else LONGEST_PAUSE_SEC)

    async def _go_round(self) -> bool:
        """Do one round over all orphans; return whether there were any."""
        runs = list(self._open)
        for run in runs:
            run.waiting = False
        left = await self._slices.gather(self._round())
        for run in runs:
            if not run.waiting:
                run.settled.set()
        return bool(left)

    def _round(self) -> Iterator[int]:
        """Reap the orphans that have ended, then end the others and all processes below them.

        Yields the PID of each orphan, and 0 for each other step.
        """
        for pid in self._pool.strays():
            self._claim(pid)  # even if it has ended: its children may have become orphans
            self._reap(pid)
            yield pid
        for pid in process_tree.end(os.getpid(), self._pool.strays):
            if pid:
                self._claim(pid).found.add(pid)
            yield 0

    def _left(self, run: OrphanedRun) -> Iterator[int]:
        """Yield the PIDs of a run's living processes, and 0 for dead ones."""
        for pid in self._pool.strays():
            if self._claim(pid) is run:
                yield pid if process.status(pid).alive else 0
                yield from process_tree.living(pid)

    def _claim(self, pid: int) -> OrphanedRun:
        """Return the run of an orphan or of a process below one, by its parent or its session."""
        owner = self._owners.get(pid)
        if owner is None:
            found = process.status(pid)
            owner = self._owners.get(found.parent) or self._owners.get(found.session)
        if owner is None:
            owner = self._open[-1] if self._open else OrphanedRun(0)
        self._owners[pid] = owner
        owner.waiting = True
        return owner

    def _reap(self, pid: int) -> None:
        """Reap an orphan if it has ended, and keep its end."""
        reaped, status, usage = os.wait4(pid, os.WNOHANG)
        if not reaped:
            return
        owner = self._owners.get(pid)
        cpu = int((usage.ru_utime + usage.ru_stime) * 1e6)
        report = Report.now(ENDED, pid, status, cpu)
        if owner is not None and owner.main == pid:
            owner.last = report  # `_owners` keeps the PID: it still names the session
        else:
            self._owners.pop(pid, None)
            self._ended[pid] = report
            if len(self._ended) > REMEMBERED:
                del self._ended[next(iter(self._ended))]
