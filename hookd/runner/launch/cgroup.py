# SPDX-License-Identifier: LGPL-2.1-or-later
"""A control group for each launcher, and so for each run, if cgroup v2 is delegated to the runner.

systemd marks the groups that `Delegate=yes` delegates (see its CGROUP_DELEGATION document).
Without the mark, hookd changes no group, and the limit poller bounds memory and processes. Only
leaves may have processes, so the runner and its zygote move into a leaf of their own. The kernel's
admin-guide/cgroup-v2 describes the files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

from hookd.runner.launch import process
from hookd.runner.launch.profile import Profile

ROOT = Path("/sys/fs/cgroup")
LEAF = "runner"
CONTROLLERS = ("memory", "pids", "cpu")
CLEAN = 4 << 20  # bytes that may still be charged to a group that is used again
AGAIN_SEC = 0.1  # between two tries to remove a group whose processes are being reaped
TRIES = 600


def delegated() -> Path | None:
    """Return the directory of the group that is delegated to this service, or None."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    own = next((line[3:] for line in lines if line.startswith("0::/")), None)
    if own is None:
        return None
    here = ROOT / own.lstrip("/")
    for group in (here, here.parent):  # it is the parent with DelegateSubgroup=
        if _marked(group) and os.access(group / "cgroup.procs", os.W_OK):
            return group
    return None


def _marked(group: Path) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(group, name) == b"1":
                return True
        except OSError:
            continue
    return False


def _kill(group: Path) -> None:
    # Linux before 5.14 lacks this file; the caller then kills the processes one by one.
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1")


def _removed(group: Path) -> bool:
    try:
        for below in group.iterdir():  # a hook with enough rights can make groups
            if below.is_dir():
                _removed(below)
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


class Groups:
    """The delegated group. Raises OSError if it cannot be divided."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._count = 0
        leaf = base / LEAF
        leaf.mkdir(exist_ok=True)
        for pid in (base / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (leaf / "cgroup.procs").write_text(pid)
        available = (base / "cgroup.controllers").read_text().split()
        self.controllers = frozenset(CONTROLLERS) & frozenset(available)
        for name in self.controllers:
            (base / "cgroup.subtree_control").write_text(f"+{name}")
        self.close()  # removes the groups that a previous runner left

    def close(self, seconds: float = 1.0) -> None:
        """Empty and remove all groups of runs, as far as possible within this time."""
        give_up = time.monotonic() + seconds
        for path in self._base.glob("run-*"):
            _kill(path)
            while not _removed(path) and time.monotonic() < give_up:
                time.sleep(AGAIN_SEC / 10)

    def make(self, profile: Profile) -> Group:
        """Return a new group with a profile's limits. Raises OSError."""
        self._count += 1
        group = Group(self._base / f"run-{os.getpid()}-{self._count}")
        if "memory" in self.controllers and profile.memory is not None:
            group.write("memory.max", profile.memory)
            group.write("memory.oom.group", 1)
            with contextlib.suppress(OSError):  # a kernel without swap has no such file
                group.write("memory.swap.max", 0)
        if "pids" in self.controllers and profile.processes is not None:
            group.write("pids.max", profile.processes + 1)  # the launcher is one of them
        if "cpu" in self.controllers and profile.cpu_weight is not None:
            group.write("cpu.weight", profile.cpu_weight)
        return group


class Group:
    """One launcher's group, with everything that its runs start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        path.chmod(0o755)  # language runtimes read their memory limit here
        self._seen = {"memory": 0, "processes": 0}
        self._cpu_before = 0
        self._peak = -1
        self._peak_before = 0
        for flags in (os.O_RDWR, os.O_RDONLY):  # since Linux 6.12 a write resets the peak
            with contextlib.suppress(OSError):
                self._peak = os.open(path / "memory.peak", flags | os.O_CLOEXEC)
                break

    def write(self, name: str, value: int) -> None:
        """Set one of the group's files. Raises OSError."""
        (self.path / name).write_text(str(value))

    def enter(self, pid: int) -> None:
        """Move a process into the group. Raises OSError."""
        self.write("cgroup.procs", pid)

    def kill(self) -> None:
        """Kill everything in the group at once, the launcher too. No fork can escape this."""
        _kill(self.path)

    def limit_hit(self) -> str | None:
        """Return the limit that was hit since the last call: "memory", "processes" or None."""
        hit = None
        for limit, name, key in (
            ("processes", "pids.events", "max"),
            ("memory", "memory.events", "oom_kill"),
        ):
            count = self._number(name, key)
            if count > self._seen[limit]:
                self._seen[limit] = count
                hit = limit
        return hit

    def begin(self) -> None:
        """Reset the memory peak and the CPU time before a run."""
        self._cpu_before = self._number("cpu.stat", "usage_usec")
        self._peak_before = 0
        if self._peak >= 0:
            try:
                os.pwrite(self._peak, b"reset", 0)
            except OSError:
                self._peak_before = self._peak_now()

    def peak(self, *, reached: bool) -> int | None:
        """Return the most memory used since `begin`, in bytes; None if unknown.

        Before Linux 6.12 the kernel keeps one peak for all runs of the group. It is this run's if
        it has grown since `begin`, or if this run has `reached` the limit.
        """
        peak = self._peak_now()
        return peak if peak > self._peak_before or (reached and peak) else None

    def _peak_now(self) -> int:
        return int(os.pread(self._peak, 32, 0)) if self._peak >= 0 else 0

    def held(self) -> int:
        """Return the memory that the group cannot give back, in bytes. Excludes cached files."""
        return self._number("memory.stat", "anon") + self._number("memory.stat", "shmem")

    def members(self) -> frozenset[int]:
        """Return the PIDs of the processes in the group, without groups below it."""
        try:
            return frozenset(map(int, (self.path / "cgroup.procs").read_text().split()))
        except OSError:
            return frozenset()

    def holds(self, pid: int) -> bool:
        """Whether a process is in this group or one below it. True for a process that is gone."""
        path = process.control_group(pid)
        if path is None:
            return True
        own = f"/{self.path.relative_to(ROOT)}"
        return path == own or path.startswith(f"{own}/")

    @property
    def clean(self) -> bool:
        """Whether nothing of the previous runs counts against the next one.

        Files in tmpfs and shared memory stay charged to the group that wrote them after its
        processes are gone, and the peak includes cached files.
        """
        return self._value("memory.current") <= CLEAN and self._value("pids.current") <= 1

    def cpu_usec(self) -> int:
        """Return the CPU time used since `begin`, in microseconds, including the launcher's."""
        return max(0, self._number("cpu.stat", "usage_usec") - self._cpu_before)

    def discard(self) -> None:
        """Kill everything in the group, and remove the group once it is empty."""
        if self._peak >= 0:
            os.close(self._peak)
            self._peak = -1
        self.kill()
        self._remove(TRIES)

    def _remove(self, tries: int) -> None:
        if not _removed(self.path) and tries:
            asyncio.get_running_loop().call_later(AGAIN_SEC, self._remove, tries - 1)

    def _value(self, name: str) -> int:
        try:
            return int((self.path / name).read_text())
        except OSError:
            return 0  # the controller is not available

    def _number(self, name: str, key: str) -> int:
        try:
            for line in (self.path / name).read_text().splitlines():
                word, _, count = line.partition(" ")
                if word == key:
                    return int(count)
        except OSError:
            pass  # the controller is not available
        return 0
