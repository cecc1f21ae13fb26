# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads the state, memory and name of a process from /proc. This module signals nothing.

A process lives as long as one of its threads does. If the first thread, the leader, has exited
and others go on, /proc/PID/stat shows Z and /proc/PID/statm shows 0. The true values are then
below /proc/PID/task (proc(5)). For this reason only this module reads these files.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import NamedTuple

import psutil

PAGE = resource.getpagesize()
NAME = 15  # bytes of a process's name, TASK_COMM_LEN in prctl(2) without the NUL
PROGRAM = 64  # bytes of the program's path that are shown at most
_STATE, _PARENT, _GROUP, _SESSION, _THREADS = 0, 1, 2, 3, 17  # after the name in proc_pid_stat(5)
_STAT_SIZE = 1024  # bytes; the file is far smaller
_PROC_CHILDREN = Path("/proc/self/task").is_dir() and Path("/proc/thread-self/children").exists()


class Status(NamedTuple):
    """A process's parent, group and session, and its state as a letter of proc_pid_stat(5)."""

    parent: int
    group: int
    session: int
    state: str

    @property
    def alive(self) -> bool:
        """Whether it exists and is not a zombie."""
        return self.state not in "ZX"


GONE = Status(0, 0, 0, "X")


def status(pid: int) -> Status:
    """Return a process's status, or `GONE` if no process has this PID.

    If the leader has exited, the state is that of a living thread.
    """
    fields = _stat(f"/proc/{pid}/stat")
    if fields is None:
        return GONE
    state = fields[_STATE].decode()
    if state in "ZX" and int(fields[_THREADS]) > 1:
        state = next((found for _, found in _living(pid)), state)
    return Status(int(fields[_PARENT]), int(fields[_GROUP]), int(fields[_SESSION]), state)


def children(pid: int) -> list[int]:
    """Return the PIDs of a process's children, including zombies, the oldest first.

    They are read from task/TID/children (proc(5)) of each thread, which is fast enough to catch
    processes that fork and exit in a loop. If the kernel lacks that file, psutil searches all
    processes. The list is empty if the process is gone.
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


def resident(pid: int) -> int:
    """Return a process's memory including all that it shares, in bytes. Fast, but too high."""
    for path in _threads(pid):
        if pages := int((_read(f"{path}/statm").split() or [b"", b"0"])[1]):
            return pages * PAGE
    return 0


def proportional(pid: int) -> int:
    """Return a process's memory with its part of what it shares, in bytes (PSS, proc(5)).

    Return `resident` if the kernel does not tell.
    """
    for path in _threads(pid):
        if kib := _word(f"{path}/smaps_rollup", b"Pss:"):
            return int(kib) * 1024
    return resident(pid)  # another user's process may keep its PSS to itself


def cpu_usec(pid: int) -> int:
    """Return the CPU time of a process's first thread, in microseconds."""
    return int((_read(f"/proc/{pid}/schedstat").split() or [b"0"])[0]) // 1000


def control_group(pid: int) -> str | None:
    """Return the path of a process's group in cgroup v2, or None."""
    for line in _read(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith(b"0::"):
            return os.fsdecode(line[3:])
    return None


def named(pid: int) -> str:
    """Return a process's PID, name and program: `1234 (exim4, /usr/sbin/exim4)`.

    The name of a script is that of its file. The arguments are omitted, because they may contain
    passwords and the text goes to the journal.
    """
    name = _read(f"/proc/{pid}/comm").rstrip(b"\n")
    if not name:
        return str(pid)
    program = b""
    for path in _threads(pid):
        program = program or _read(f"{path}/cmdline", PROGRAM + 1).partition(b"\0")[0]
    shown = [name[:NAME], program[:PROGRAM]] if program and program != name else [name[:NAME]]
    return f"{pid} ({', '.join(part.decode(errors='backslashreplace') for part in shown)})"


def described(pid: int) -> str:
    """Return a process's description and where in the kernel it waits.

    An example is `1234 (cp, /bin/cp), uid 0, state D, in nfs_wait`.
    """
    uid = _word(f"/proc/{pid}/status", b"Uid:").decode() or "?"
    where = next((_read(f"{path}/wchan") for path in _threads(pid)), b"").decode() or "?"
    return f"{named(pid)}, uid {uid}, state {status(pid).state}, in {where}"


def _threads(pid: int) -> list[str]:
    """Return the directories to read: the process's own, or that of each living thread.

    The threads' are needed if the leader has exited.
    """
    fields = _stat(f"/proc/{pid}/stat")
    if fields is None or fields[_STATE] not in b"ZX":
        return [f"/proc/{pid}"]
    return [path for path, _ in _living(pid)]


def _living(pid: int) -> list[tuple[str, str]]:
    """Return the directory and the state of each thread that has not exited."""
    try:
        tasks = [f"/proc/{pid}/task/{task}" for task in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return []
    stats = [(path, _stat(f"{path}/stat")) for path in tasks]
    return [(p, f[_STATE].decode()) for p, f in stats if f is not None and f[_STATE] not in b"ZX"]


def _stat(path: str) -> list[bytes] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    try:
        return os.read(fd, _STAT_SIZE).rpartition(b") ")[2].split(None, _THREADS + 1)
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)


def _word(path: str, name: bytes) -> bytes:
    """Return the word that follows a name at the beginning of a line, or b"" if none does."""
    for line in _read(path).splitlines():
        if line.startswith(name):
            return line.split()[1]
    return b""


def _read(path: str, size: int = -1) -> bytes:
    """Return the content of a file in /proc, or b"" if the process is gone or access is denied."""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
