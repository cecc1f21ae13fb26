# SPDX-License-Identifier: LGPL-2.1-or-later
"""What /proc says of one process: its state, its memory, its name. Nothing is signalled here.

A process lives as long as one of its threads does. Where the first thread, the leader, has
exited and others work on, /proc/PID/stat says Z and /proc/PID/statm nothing, and what is true
stands below /proc/PID/task (proc(5)). So nothing in hookd reads those files but this one.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import NamedTuple

import psutil

PAGE = resource.getpagesize()
NAME = 15  # bytes of a process's name, TASK_COMM_LEN in prctl(2) without the NUL
PROGRAM = 64  # bytes of the program's path that are shown
_STATE, _PARENT, _GROUP, _SESSION, _THREADS = 0, 1, 2, 3, 17  # after the name in proc_pid_stat(5)
_STAT_SIZE = 1024  # bytes; the file is far smaller
_PROC_CHILDREN = Path("/proc/self/task").is_dir() and Path("/proc/thread-self/children").exists()


class Status(NamedTuple):
    """A process's parent, group and session, and its state's letter as in proc_pid_stat(5)."""

    parent: int
    group: int
    session: int
    state: str

    @property
    def alive(self) -> bool:
        """Whether it is more than a number that waits to be reaped."""
        return self.state not in "ZX"


GONE = Status(0, 0, 0, "X")


def status(pid: int) -> Status:
    """Return a process's status, `GONE` where there is none of that number.

    The state is that of a living thread where the leader is not one.
    """
    fields = _stat(f"/proc/{pid}/stat")
    if fields is None:
        return GONE
    state = fields[_STATE].decode()
    if state in "ZX" and int(fields[_THREADS]) > 1:
        state = next((found for _, found in _living(pid)), state)
    return Status(int(fields[_PARENT]), int(fields[_GROUP]), int(fields[_SESSION]), state)


def children(pid: int) -> list[int]:
    """Return the PIDs of a process's children, zombies too, the oldest first.

    From task/TID/children (proc(5)), a read for each thread: fast enough to catch what forks and
    exits in a loop. Empty where the process is gone. Where the kernel lacks it psutil looks
    through all processes.
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
    """Return a process's memory with all that it shares, in bytes: quick, and too much."""
    for path in _threads(pid):
        if pages := int((_read(f"{path}/statm").split() or [b"", b"0"])[1]):
            return pages * PAGE
    return 0


def proportional(pid: int) -> int:
    """Return a process's memory with its part of what it shares, in bytes (PSS, proc(5))."""
    for path in _threads(pid):
        if kib := _word(f"{path}/smaps_rollup", b"Pss:"):
            return int(kib) * 1024
    return resident(pid)  # of another user, who may not be looked at that closely


def cpu_usec(pid: int) -> int:
    """Return the CPU time of a process's own (its first thread's), in microseconds."""
    return int((_read(f"/proc/{pid}/schedstat").split() or [b"0"])[0]) // 1000


def control_group(pid: int) -> str | None:
    """Return the path of a process's group in cgroup v2, None where there is none."""
    for line in _read(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith(b"0::"):
            return os.fsdecode(line[3:])
    return None


def named(pid: int) -> str:
    """Return a process's number, name and program: `1234 (exim4, /usr/sbin/exim4)`.

    The name of a script is that of its file. The arguments are left out, because passwords may
    stand in them, and this is for the journal.
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
    """Return who a process is and where in the kernel it waits.

    `1234 (cp, /bin/cp), uid 0, state D, in nfs_wait`.
    """
    uid = _word(f"/proc/{pid}/status", b"Uid:").decode() or "?"
    where = next((_read(f"{path}/wchan") for path in _threads(pid)), b"").decode() or "?"
    return f"{named(pid)}, uid {uid}, state {status(pid).state}, in {where}"


def _threads(pid: int) -> list[str]:
    """Return where to read of a process: of itself, or of each living thread."""
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
    """Return the word after a name at the beginning of a line; nothing where there is none."""
    for line in _read(path).splitlines():
        if line.startswith(name):
            return line.split()[1]
    return b""


def _read(path: str, size: int = -1) -> bytes:
    """Return what a file of a process says; nothing where it is gone or keeps that to itself."""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
