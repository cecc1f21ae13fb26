# SPDX-License-Identifier: LGPL-2.1-or-later
"""A look at runs that take a while: memory and processes of the tree, and a stopped launcher.

Where no cgroup bounds a run, this is what its limits on memory and processes rest on: a weaker
promise, since what happens between two looks is not seen. One timer for all; it never takes more
than a small part of the runner's time.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

import psutil

from hookd import faults
from hookd.runner import tree
from hookd.runner.spawn import Launcher
from hookd.runner.verdict import Course

SOON_SEC = 0.02  # between two looks at a run with such limits
LATER_SEC = 1.0  # between two looks at any other
SHARE = 20  # one part in so many of the time may be spent looking


class Watched(Protocol):
    """A run, as far as the watch needs it."""

    launcher: Launcher
    course: Course

    def overstepped(self, limit: str) -> None:
        """Take the word that the run is beyond a limit."""

    def give_up(self, error: Exception) -> None:
        """End the run for an error of hookd's own."""


class Watch:
    """Looks at runs from `add` to `remove`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._runs: dict[Watched, float] = {}
        self._timer = faults.Timer(self._look)

    def add(self, run: Watched) -> None:
        """Begin to look at a run."""
        due = self._loop.time() + interval(run)
        self._runs[run] = due
        if self._timer.when is None or due < self._timer.when:
            self._timer.at(due)

    def remove(self, run: Watched) -> None:
        """Leave a run alone from now on."""
        self._runs.pop(run, None)

    def _look(self) -> None:
        began = self._loop.time()
        for run, due in list(self._runs.items()):
            if due <= began:
                self._runs[run] = began + interval(run)
                faults.guarded("a look at a run", partial(look, run), run.give_up)
        now = self._loop.time()
        if self._runs:
            self._timer.at(max(min(self._runs.values()), now + (now - began) * SHARE))


def interval(run: Watched) -> float:
    """Return the seconds between two looks at a run."""
    profile = run.launcher.profile
    return LATER_SEC if profile.memory is None and profile.processes is None else SOON_SEC


def look(run: Watched) -> None:
    """Look at one run now; tell it of a limit that it has overstepped."""
    launcher = run.launcher
    if tree.status(launcher.pid).state == "T":  # traced ("t") is an administrator's doing
        launcher.kill()  # only a hook of its own does that; it goes with its launcher
        return
    if launcher.group is not None:
        if limit := launcher.group.limit_hit():
            run.overstepped(limit)
        return
    profile = launcher.profile
    enough = tree.MOST if profile.processes is None else profile.processes + 1
    pids = tree.below(launcher.pid, enough)
    if profile.processes is not None and len(pids) > profile.processes:
        run.overstepped("processes")
        return
    used = sum(resident(pid) for pid in pids)
    if profile.memory is not None and used > profile.memory:
        used = sum(proportional(pid) for pid in pids)
        if used > profile.memory:
            run.overstepped("memory")
    run.course.peak = max(run.course.peak, used)


def resident(pid: int) -> int:
    """Return a process's memory with all that it shares, in bytes: quick, and too much."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def proportional(pid: int) -> int:
    """Return a process's memory with its part of what it shares, in bytes (PSS, proc(5))."""
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except psutil.Error:
        return resident(pid)
