# SPDX-License-Identifier: LGPL-2.1-or-later
"""The processes below a process: finding them, and signalling none but them.

A launcher reaps whatever its run leaves behind, so "below it" is the whole truth; a list is old
when it is read, so callers go round until the launcher says that nothing is left.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import psutil

MOST = 500  # processes looked at in one go: a fork bomb must not hold up the loop
PIDFD_SIGNAL_PROCESS_GROUP = 4  # pidfd_send_signal(2)
_PROC_CHILDREN = Path("/proc/self/task").is_dir() and Path("/proc/thread-self/children").exists()


def children(pid: int) -> list[int]:
    """Return the PIDs of a process's children, zombies too; empty where it is gone.

    From task/TID/children (proc(5)), a read for each thread: fast enough to catch what forks and
    exits in a loop. Where the kernel lacks it psutil looks through all processes.
    """
    if not _PROC_CHILDREN:
        try:
            return [child.pid for child in psutil.Process(pid).children()]
        except psutil.Error:
            return []
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def walk(root: int) -> Iterator[int]:
    """Go through the PIDs of what is below a process, parents first, as it is found."""
    todo = deque(children(root))
    while todo:
        pid = todo.popleft()
        yield pid
        todo.extend(children(pid))


def below(root: int, most: int = MOST) -> list[int]:
    """Return the PIDs of everything below a process, parents first, but no more than `most`."""
    return list(islice(walk(root), most))


class Status(NamedTuple):
    """A process's parent, process group, and its state's letter as in proc_pid_stat(5)."""

    parent: int
    group: int
    state: str

    @property
    def alive(self) -> bool:
        """Whether it is more than a number that waits to be reaped."""
        return self.state not in "ZX"


GONE = Status(0, 0, "X")


def status(pid: int) -> Status:
    """Return a process's status, `GONE` where there is none of that number."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent, group = file.read().rpartition(b") ")[2].split(None, 3)[:3]
    except (FileNotFoundError, ProcessLookupError):
        return GONE
    return Status(int(parent), int(group), state.decode())


def living_below(root: int) -> list[int]:
    """Return the PIDs of what is alive below a process."""
    return [pid for pid in below(root) if status(pid).alive]


def signal_below(root: int, *signals: int) -> list[int]:
    """Send the signals to everything alive below a process, itself not among; return to whom.

    Never to anybody else: a pidfd is opened first, then its process's parent looked at, then the
    signal sent through it. A number that was given to a stranger meanwhile fails the second step
    or, when the process died between them, the third. Where the kernel can (Linux 6.9), the
    leader of a process group stands for all of it: nothing forks faster than that.
    """
    ours = {root}
    reached: list[int] = []
    groups: set[int] = set()
    for pid in islice(walk(root), MOST):  # a group dies before the rest of it is even looked for
        ours.add(pid)
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            found = status(pid)
            if found.parent in ours and found.alive:
                reached.append(pid)
                if found.group in groups:
                    continue
                if found.group == pid and _signal_group(fd, signals):
                    groups.add(pid)
                else:
                    _signal(fd, signals)
        except (ProcessLookupError, PermissionError):
            pass  # gone meanwhile; or another user's, which the caller finds still there
        finally:
            os.close(fd)
    return reached


def _signal(fd: int, signals: Iterable[int], flags: int = 0) -> None:
    for number in signals:
        signal.pidfd_send_signal(fd, number, None, flags)


def _signal_group(fd: int, signals: Iterable[int]) -> bool:
    """Signal the group that this process leads; False where the kernel cannot by pidfd."""
    try:
        _signal(fd, signals, PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise
        return False
    return True


def described(pid: int) -> str:
    """Return who a process is and where in the kernel it waits: `1234 (cp, D, in nfs_wait)`."""
    try:
        process = psutil.Process(pid)
        name, uid = process.name(), process.uids().real
    except psutil.Error:
        return str(pid)
    try:
        wchan = Path(f"/proc/{pid}/wchan").read_text() or "?"
    except OSError:
        wchan = "?"
    return f"{pid} ({name}, uid {uid}, state {status(pid).state}, in {wchan})"
