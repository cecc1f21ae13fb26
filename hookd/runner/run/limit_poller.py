# SPDX-License-Identifier: LGPL-2.1-or-later
"""Polls runs for the memory and number of their processes, and for a stopped launcher.

If no cgroup bounds a run, this poll enforces its limits on memory and processes. That is weaker
than a cgroup, because a poll does not see what happens between two polls. The same holds for
processes that have left the cgroup of their run, as `su -` and `systemd-run --scope` do. One task
polls all runs in short slices and takes only a small share of the runner's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol

from hookd.model import Result
from hookd.runner.launch import process, process_tree
from hookd.runner.launch.pool import Launcher
from hookd.runner.launch.slices import Slices
from hookd.runner.run.outcome import Cause, Observed
from hookd.system import faults

SOON_SEC = 0.02  # between two polls of a run with limits that only the poll enforces
KEPT_SEC = 0.1  # between two polls of a run whose limits the kernel enforces
LATER_SEC = 1.0  # between two polls of any other run
SHARE = 20  # the poller rests this many times as long as it has polled
ENOUGH = 100  # processes beyond the limit after which counting stops: a fork bomb has no end
NOTEWORTHY = 1.05  # factor by which a sum must exceed the largest one to be measured exactly


class PolledRun(Protocol):
    """What the poller needs of a run."""

    observed: Observed

    @property
    def launcher(self) -> Launcher | None:
        """The launcher that has the run, or None."""
        ...

    def end(self, cause: Cause, grace: float | None = None) -> None:
        """End the run for this cause, with `grace` seconds between TERM and KILL."""

    def give_up(self, error: Exception) -> None:
        """End the run because of a fault."""


class LimitPoller:
    """Polls each run from `add` to `remove`."""

    def __init__(self, slices: Slices) -> None:
        self._loop = asyncio.get_running_loop()
        self._slices = slices
        self._runs: dict[PolledRun, float] = {}
        self._timer = faults.Timer(self._begin)
        self._task: asyncio.Task[None] | None = None
        self._spent = 0.0

    def add(self, run: PolledRun) -> None:
        """Start to poll a run."""
        due = self._loop.time() + interval(run)
        self._runs[run] = due
        if self._task is None and (self._timer.when is None or due < self._timer.when):
            self._timer.at(due)

    def remove(self, run: PolledRun) -> None:
        """Stop polling a run."""
        self._runs.pop(run, None)

    def close(self) -> None:
        """Stop polling all runs."""
        self._runs.clear()
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = faults.keep("a look at the runs", self._look)

    async def _look(self) -> None:
        began = self._loop.time()
        self._spent = 0.0
        for run, due in list(self._runs.items()):
            if due <= began and run in self._runs:
                self._runs[run] = began + interval(run)
                await self._look_at(run)
        self._task = None
        if self._runs:
            rested = self._loop.time() + self._spent * SHARE
            self._timer.at(max(min(self._runs.values()), rested))

    async def _look_at(self, run: PolledRun) -> None:
        try:
            await self._slices.gather(self._steps(run))
        except Exception as e:  # any error concerns this run alone
            faults.report(e, "the poll of a run")
            run.give_up(e)

    def _steps(self, run: PolledRun) -> Iterator[None]:
        """Poll one run, unless it is removed meanwhile, and add up the time that this takes."""
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
    """Return the seconds between two polls of a run."""
    launcher = run.launcher
    if launcher is None or (
        launcher.profile.memory is None and launcher.profile.processes is None
    ):
        return LATER_SEC
    return SOON_SEC if launcher.group is None or run.observed.outside else KEPT_SEC


def look(run: PolledRun) -> Iterator[None]:
    """Poll one run, one process in each step, and end the run if it exceeds a limit."""
    launcher = run.launcher
    if launcher is None:
        return
    group, allowed = launcher.group, launcher.profile.processes
    # A launcher is stopped ("T") only by its own hook, which ends with it. An administrator may
    # trace it ("t").
    if process.status(launcher.pid).state == "T":
        launcher.kill()
        return
    if group is not None and (limit := group.limit_hit()):
        _exceeded(run, limit)
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
        return  # the kernel enforces the limits on all processes of the run
    run.observed.outside = group is not None
    if allowed is not None and count > allowed:
        more = "" if count <= allowed + ENOUGH else "at least "
        _exceeded(run, "processes", f"it had {more}{count} processes, {allowed} are allowed")
        return
    yield from _weigh(run, launcher, outside)


def _exceeded(run: PolledRun, limit: str, reason: str | None = None) -> None:
    """End a run that exceeds a limit, without grace. `reason` says by how much."""
    run.end(Cause(Result.LIMIT, limit=limit, reason=reason), 0)


def _weigh(run: PolledRun, launcher: Launcher, pids: list[int]) -> Iterator[None]:
    """Add up the memory of these processes and of the run's group.

    The memory that processes share is measured exactly only above the limit or for a new peak.
    """
    allowed, observed = launcher.profile.memory, run.observed
    used = held = launcher.group.held() if launcher.group is not None else 0
    for pid in pids:
        used += process.resident(pid)
        yield
    beyond = allowed is not None and used > allowed
    if not beyond and used <= observed.weighed * NOTEWORTHY:
        return
    observed.weighed = max(observed.weighed, used)
    if len(pids) > 1:
        used = held
        for pid in pids:
            used += process.proportional(pid)
            yield
    observed.peak = max(observed.peak, used)
    if allowed is not None and used > allowed:
        _exceeded(
            run, "memory", f"it used {used >> 20} MB of memory, {allowed >> 20} MB are allowed"
        )
