# SPDX-License-Identifier: LGPL-2.1-or-later
"""The processes below a process: finding them, and signalling none but them.

A launcher reaps whatever its run leaves behind, so "below it" is the whole truth; a list is old
when it is read, so callers go round until the launcher says that nothing is left.

All of this are generators that give something for each process they look at, so that
`hookd.runner.launch.slices` can stop between two of them: a run may have thousands.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator

from hookd.runner.launch.process import children, status

FREEZES = 10  # passes of SIGSTOP at most: what waits in the kernel does not show as stopped
PIDFD_SIGNAL_PROCESS_GROUP = 4  # pidfd_send_signal(2)


Roots = Callable[[], list[int]]
"""Says which children of the root to begin with, at the moment it is asked."""


def walk(root: int, roots: Roots | None = None) -> Iterator[int]:
    """Go through the PIDs of what is below a process, as it is found.

    Parents come before their children, and of one parent's children the youngest first: among
    processes that fork and exit in a loop those are the ones that are alive.
    """
    todo = children(root) if roots is None else roots()
    while todo:
        pid = todo.pop()
        yield pid
        todo.extend(children(pid))


def living(root: int) -> Iterator[int]:
    """Go through what is below a process; give the PIDs of what is alive, 0 for the others."""
    for pid in walk(root):
        yield pid if status(pid).alive else 0


def end(root: int, roots: Roots | None = None) -> Iterator[int]:
    """Stop everything below a process until nothing new is found, then kill it.

    What is stopped can neither fork nor react to the end of the others. Gives the PID of each
    process that was killed, 0 for each other look.
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
    """Send the signals to everything alive below a process, itself not among.

    Gives the PID of each process that was reached, 0 for each other. Those in one of the states
    `unless` (letters of proc_pid_stat(5)) are passed over.

    Never to anybody else: a pidfd is opened first, then its process's parent looked at, then the
    signal sent through it. A number that was given to a stranger meanwhile fails the second step
    or, when the process died between them, the third. Where the kernel can (Linux 6.9), the
    leader of a process group stands for all of it: nothing forks faster than that.
    """
    ours = {root}
    groups: set[int] = set()
    for pid in walk(root, roots):
        ours.add(pid)
        yield pid if _reach(pid, signals, ours, groups, unless) else 0


def signal_listed(
    root: int, *signals: int, roots: Roots | None = None, youngest_first: bool = False
) -> Iterator[int]:
    """Do what `signal_below` does, but list everything before anything is signalled.

    So the children of a process that ends of its signal are not missed, who have another parent
    then.
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
    """Signal one process, or the group it leads; return whether it gets the signals."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        # Gone; or reaped while its number still names a session or a group, which is EINVAL or
        # ENOENT on some kernels; or there is no descriptor for now, and the next round has one.
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
        return False  # gone meanwhile; or another user's, which the caller finds still there
    finally:
        os.close(fd)
    return True


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
