# SPDX-License-Identifier: LGPL-2.1-or-later
"""The processes below a process: finding them, and signalling none but them.

A launcher reaps whatever its run leaves behind, so "below it" is the whole truth; a list is old
when it is read, so callers go round until the launcher says that nothing is left.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

MOST = 500  # processes looked at in one go: a fork bomb must not hold up the loop
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


def below(root: int, most: int = MOST) -> list[int]:
    """Return the PIDs of everything below a process, parents first, but no more than `most`."""
    found: list[int] = []
    todo = children(root)
    while todo and len(found) < most:
        pid = todo.pop()
        found.append(pid)
        todo += children(pid)
    return found


def parent(pid: int) -> tuple[int, str]:
    """Return a process's parent and its state's letter as in proc_pid_stat(5); (0, "X"): gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, ppid = file.read().rpartition(b") ")[2].split(None, 2)[:2]
    except (FileNotFoundError, ProcessLookupError):
        return 0, "X"
    return int(ppid), state.decode()


def signal_below(root: int, *signals: int) -> list[int]:
    """Send the signals to everything below a process; return whom: the living, root not among.

    Never to anybody else: a pidfd is opened first, then its process's parent looked at, then the
    signal sent through it. A number that was given to a stranger meanwhile fails the second step
    or, when the process died between them, the third.
    """
    pids = below(root)
    ours = {root, *pids}
    reached = []
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            ppid, state = parent(pid)
            if ppid in ours and state not in "ZX":
                reached.append(pid)
                for number in signals:
                    signal.pidfd_send_signal(fd, number)
        except (ProcessLookupError, PermissionError):
            pass  # gone meanwhile; or another user's, which the caller finds still there
        finally:
            os.close(fd)
    return reached


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
    return f"{pid} ({name}, uid {uid}, state {parent(pid)[1]}, in {wchan})"
