# SPDX-License-Identifier: LGPL-2.1-or-later
"""A look at runs that take a while: memory and processes of the tree, and a stopped launcher.

Where no cgroup bounds a run, this is what its limits on memory and processes rest on: a weaker
promise, since what happens between two looks is not seen. So for what has left its run's cgroup,
as `su -` and `systemd-run --scope` do. One task for all, in short slices; it never takes more
than a small part of the runner's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol

from hookd.runner.launch import process, process_tree
from hookd.runner.launch.pool import Launcher
from hookd.runner.launch.slices import Slices
from hookd.runner.run.outcome import Course
from hookd.system import faults

SOON_SEC = 0.02  # between two looks at a run with such limits
KEPT_SEC = 0.1  # between two looks at a run whose limits the kernel keeps
LATER_SEC = 1.0  # between two looks at any other
SHARE = 20  # one part in so many of the time may be spent looking
ENOUGH = 100  # processes beyond the limit: a fork bomb need not be counted to its end
NOTEWORTHY = 1.05  # times the largest sum until now: from then on what is shared is looked at


class PolledRun(Protocol):
    """A run, as far as the watch needs it."""

    launcher: Launcher
    course: Course

    def overstepped(self, limit: str, reason: str | None = None) -> None:
        """Take the word that the run is beyond a limit, and by how much."""

    def give_up(self, error: Exception) -> None:
        """End the run for an error of hookd's own."""


class LimitPoller:
    """Looks at runs from `add` to `remove`."""

    def __init__(self, slices: Slices) -> None:
        self._loop = asyncio.get_running_loop()
        self._slices = slices
        self._runs: dict[PolledRun, float] = {}
        self._timer = faults.Timer(self._begin)
        self._task: asyncio.Task[None] | None = None
        self._spent = 0.0

    def add(self, run: PolledRun) -> None:
        """Begin to look at a run."""
        due = self._loop.time() + interval(run)
        self._runs[run] = due
        if self._task is None and (self._timer.when is None or due < self._timer.when):
            self._timer.at(due)

    def remove(self, run: PolledRun) -> None:
        """Leave a run alone from now on."""
        self._runs.pop(run, None)

    def close(self) -> None:
        """Look no more."""
        self._runs.clear()
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._look())

    async def _look(self) -> None:
        began = self._loop.time()
        self._spent = 0.0
        try:
            for run, due in list(self._runs.items()):
                if due <= began and run in self._runs:
                    self._runs[run] = began + interval(run)
                    await self._look_at(run)
        finally:
            self._task = None
            if self._runs:
                rested = self._loop.time() + self._spent * SHARE
                self._timer.at(max(min(self._runs.values()), rested))

    async def _look_at(self, run: PolledRun) -> None:
        try:
            await self._slices.gather(self._steps(run))
        except Exception as e:  # whatever it is, it is this run's
            faults.report(e, "a look at a run")
            run.give_up(e)

    def _steps(self, run: PolledRun) -> Iterator[None]:
        """Look at one run, for as long as it is one, and count the time."""
        steps = look(run)
        while run in self._runs:
            began = self._loop.time()
            try:
                next(steps)
            except StopIteration:
                return
            finally:
                self._spent += self._loop.time() - began
            yield


def interval(run: PolledRun) -> float:
    """Return the seconds between two looks at a run."""
    profile = run.launcher.profile
    if profile.memory is None and profile.processes is None:
        return LATER_SEC
    return SOON_SEC if run.launcher.group is None or run.course.outside else KEPT_SEC


def look(run: PolledRun) -> Iterator[None]:
    """Look at one run, a process in each step; tell it of a limit that it has overstepped."""
    launcher, group, allowed = run.launcher, run.launcher.group, run.launcher.profile.processes
    if process.status(launcher.pid).state == "T":  # traced ("t") is an administrator's doing
        launcher.kill()  # only a hook of its own does that; it goes with its launcher
        return
    if group is not None and (limit := group.limit_hit()):
        run.overstepped(limit)
        return
    members = group.members() if group is not None else frozenset()
    count, outside = 0, list[int]()
    for pid in process_tree.walk(launcher.pid):
        count += 1
        if pid not in members and (group is None or not group.holds(pid)):
            outside.append(pid)
        if allowed is not None and count > allowed + ENOUGH:
            break
        yield
    if not outside:
        return  # the kernel keeps the limits of all of it
    run.course.outside = group is not None
    if allowed is not None and count > allowed:
        more = "" if count <= allowed + ENOUGH else "at least "
        run.overstepped("processes", f"it had {more}{count} processes, {allowed} are allowed")
        return
    yield from _weigh(run, outside, group.held() if group is not None else 0)


def _weigh(run: PolledRun, pids: list[int], held: int) -> Iterator[None]:
    """Look at the memory of these, and of what else is `held`.

    What processes share is found out only where it matters: beyond the limit, or for a new peak.
    """
    allowed, course = run.launcher.profile.memory, run.course
    used = held
    for pid in pids:
        used += process.resident(pid)
        yield
    beyond = allowed is not None and used > allowed
    if not beyond and used <= course.weighed * NOTEWORTHY:
        return
    course.weighed = max(course.weighed, used)
    if len(pids) > 1:
        used = held
        for pid in pids:
            used += process.proportional(pid)
            yield
    course.peak = max(course.peak, used)
    if allowed is not None and used > allowed:
        run.overstepped(
            "memory", f"it used {used >> 20} MB of memory, {allowed >> 20} MB are allowed"
        )
