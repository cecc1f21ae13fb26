# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds the processes below a process, and signals only them.

A launcher reaps all processes of its run, so they are all below it. A list of processes is out of
date once it is read, so callers repeat until the launcher reports that nothing is left.

The functions are generators that yield once for each process that they examine, so that
`hookd.runner.launch.slices` can pause between two processes: a run may have thousands.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator

from hookd.runner.launch.process import children, status

FREEZES = 10  # passes of SIGSTOP at most: processes that wait in the kernel never show as stopped
PIDFD_SIGNAL_PROCESS_GROUP = 4  # pidfd_send_signal(2)


Roots = Callable[[], list[int]]
"""Returns the children of the root to begin with, as they are at the time of the call."""


def walk(root: int, roots: Roots | None = None) -> Iterator[int]:
    """Yield the PIDs of the processes below a process, in the order in which they are found.

    Parents come before their children, and the youngest child of a parent comes first: among
    processes that fork and exit in a loop, the youngest are the ones that are alive. `roots`
    returns the children to begin with, None for all children of `root`.
    """
    todo = children(root) if roots is None else roots()
    while todo:
        pid = todo.pop()
        yield pid
        todo.extend(children(pid))


def living(root: int) -> Iterator[int]:
    """Yield the PID of each living process below a process, and 0 for each dead one."""
    for pid in walk(root):
        yield pid if status(pid).alive else 0


def end(root: int, roots: Roots | None = None) -> Iterator[int]:
    """Stop everything below a process until nothing new is found, then kill it.

    A stopped process can neither fork nor react to the end of the others. Yields the PID of each
    process that was killed, and 0 for each other step.
    """
    for _ in range(FREEZES):
        stopped = False
        for pid in signal_below(root, signal.SIGSTOP, roots=roots, unless="Tt"):
            stopped = stopped or pid != 0
            yield 0
        if not stopped:
            break
    yield from signal_listed(root, signal.SIGKILL, roots=roots, youngest_first=True)


def signal_below(
    root: int, *signals: int, roots: Roots | None = None, unless: str = ""
) -> Iterator[int]:
    """Send the signals to every living process below a process, but not to the process itself.

    Yields the PID of each process that was signalled, and 0 for each other. Processes in one of
    the states `unless` (letters of proc_pid_stat(5)) are skipped.

    No other process is ever signalled. First a pidfd is opened, then the parent of its process is
    checked, then the signals are sent through the pidfd. If the PID was reused for another process
    before the first step, the second step fails. If the process dies before the third step, that
    one fails. On Linux 6.9 and later, a signal through the leader of a process group reaches the
    whole group, so that no process can outrun it by forking.
    """
    ours = {root}
    groups: set[int] = set()
    for pid in walk(root, roots):
        ours.add(pid)
        yield pid if _reach(pid, signals, ours, groups, unless) else 0


def signal_listed(
    root: int, *signals: int, roots: Roots | None = None, youngest_first: bool = False
) -> Iterator[int]:
    """Do what `signal_below` does, but list all processes before the first one is signalled.

    A process that dies of its signal gives its children another parent. The list has them
    already, so they are not missed.
    """
    found: list[int] = []
    for pid in walk(root, roots):
        found.append(pid)
        yield 0
    ours, groups = {root, *found}, set[int]()
    for pid in reversed(found) if youngest_first else found:
        yield pid if _reach(pid, signals, ours, groups, "") else 0


def _reach(
    pid: int, signals: Iterable[int], ours: Collection[int], groups: set[int], unless: str
) -> bool:
    """Signal one process, or the group that it leads; return whether it gets the signals."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        # The process is gone; or it was reaped while its PID still names a session or a group,
        # which is EINVAL or ENOENT on some kernels; or this process has no descriptor left, and
        # the next round tries again.
        return False
    try:
        found = status(pid)
        if found.parent not in ours or not found.alive or found.state in unless:
            return False
        if found.group in groups:
            return True
        if found.group == pid and _signal_group(fd, signals):
            groups.add(pid)
        else:
            _signal(fd, signals)
    except OSError:
        return False  # it is gone; or it is another user's, and the caller finds it alive
    finally:
        os.close(fd)
    return True


def _signal(fd: int, signals: Iterable[int], flags: int = 0) -> None:
    for number in signals:
        signal.pidfd_send_signal(fd, number, None, flags)


def _signal_group(fd: int, signals: Iterable[int]) -> bool:
    """Signal the group that this process leads; return False if the kernel cannot by pidfd."""
    try:
        _signal(fd, signals, PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise
        return False
    return True
