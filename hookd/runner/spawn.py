# SPDX-License-Identifier: LGPL-2.1-or-later
"""Launchers: made with a user and limits, kept for a while, given a run each.

The nursery forks them (see `hookd.runner.launcher`); psutil gives them their limits while they
wait for their first order. The clean way of a run costs two packets here, one there and one back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable

import psutil

from hookd.runner import launcher as program
from hookd.runner import tree
from hookd.runner.cgroup import Group, Groups
from hookd.runner.nursery import Nursery
from hookd.runner.profile import Profile, Report, SpawnError

IDLE_SEC = 5.0  # for which a launcher without a run is kept
RUNS = 2000  # runs of one launcher: its own CPU time counts against the limit that it passes on
FORKS = 32  # launchers asked for at a time: more questions could overrun the nursery's socket
OPEN_FILES = 1024  # the soft limit where none is set: the kernel's and systemd's default
IO_CLASSES = {
    "realtime": psutil.IOPRIO_CLASS_RT,
    "best-effort": psutil.IOPRIO_CLASS_BE,
    "idle": psutil.IOPRIO_CLASS_IDLE,
}


class Launcher:
    """One launcher. `listener` is called with each report, with None when it has died."""

    def __init__(self, sock: socket.socket, profile: Profile, pid: int, pidfd: int) -> None:
        self.profile = profile
        self.pid = pid
        self.pidfd = pidfd
        self.group: Group | None = None
        self.runs = 0
        self.alive = True
        self.listener: Callable[[Report | None], None] | None = None
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    def equip(self, groups: Groups | None) -> None:
        """Give the process what its runs inherit. Raises SpawnError."""
        try:
            limit(self.pid, self.profile)
            if groups is not None:
                self.group = groups.make(self.profile)
                self.group.enter(self.pid)
            self._sock.send(b"\1")  # now it may give up what privileges it has
        except (psutil.Error, OSError, ValueError) as e:
            raise SpawnError(f"the limits cannot be set: {e}") from None

    def order(
        self, path: str, directory: str, umask: int, argv: list[bytes], env: list[bytes],
        fds: list[int],
    ) -> None:  # fmt: skip
        """Start a program; `fds` become its 0, 1 and 2. Raises SpawnError."""
        texts = b"\0".join([os.fsencode(path), os.fsencode(directory), *argv, *env, b""])
        head = program.RUN.pack(umask, len(argv), len(texts))
        self.runs += 1
        try:
            if len(texts) <= program.MAX_INLINE:
                socket.send_fds(self._sock, [head, texts], fds)
                return
            with open(os.memfd_create("hookd-order"), "wb+") as file:
                file.write(texts)
                file.seek(0)
                socket.send_fds(self._sock, [head], [*fds, file.fileno()])
        except OSError as e:
            raise SpawnError(f"its launcher is gone: {e.strerror}") from None

    def kill(self) -> None:
        """Kill the launcher itself; what it had started comes to the runner."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Let the launcher end: it reads that nobody is there, kills what it has and exits."""
        self._signal(signal.SIGCONT)  # its hook may have stopped it
        self._hang_up()
        if self.group is not None:
            self.group.discard()
            self.group = None

    @property
    def listens(self) -> bool:
        """Whether it can be given an order."""
        return self._sock.fileno() >= 0

    def _hang_up(self) -> None:
        if self.listens:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
        if self.alive:
            self.alive = False
            self._loop.remove_reader(self.pidfd)
            os.close(self.pidfd)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(2 * program.REPORT.size)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data and len(data) % program.REPORT.size == 0:
            for kind, left, *numbers in program.REPORT.iter_unpack(data):
                if self.listener is not None:
                    self.listener(Report(kind, bool(left), *numbers))
            return
        # A dying process closes its files before its children are given to another parent; the
        # pidfd tells when that is done.
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._loop.add_reader(self.pidfd, self._died)

    def _died(self) -> None:
        self._hang_up()
        if self.listener is not None:
            self.listener(None)


class Pool:
    """All launchers, and the nursery they come from."""

    def __init__(self, groups: Groups | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._groups = groups
        self._nursery: Nursery | None = None
        self._idle: dict[Profile, list[tuple[float, Launcher]]] = {}
        self._all: set[Launcher] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._forks = asyncio.Semaphore(FORKS)

    def start(self) -> None:
        """Start the nursery. Raises OSError."""
        self._nursery = Nursery()

    def take(self, profile: Profile) -> Launcher | None:
        """Return a launcher that waits for work, None where one must be made."""
        waiting = self._idle.get(profile)
        while waiting:
            launcher = waiting.pop()[1]
            if launcher.listens:
                return launcher
        return None

    async def make(self, profile: Profile) -> Launcher:
        """Return a new launcher. Raises SpawnError."""
        if self._nursery is None or self._nursery.lost:
            self._nursery = Nursery()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            async with self._forks:
                pid, pidfd = await self._nursery.fork(profile, theirs)
        except SpawnError:
            ours.close()
            raise
        launcher = Launcher(ours, profile, pid, pidfd)
        self._all.add(launcher)
        try:
            launcher.equip(self._groups)
        except SpawnError:
            self.drop(launcher)
            raise
        return launcher

    def give_back(self, launcher: Launcher) -> None:
        """Keep a launcher that has nothing left of its run, for the next one."""
        launcher.listener = None
        if not launcher.listens or launcher.runs >= RUNS:
            self.drop(launcher)
            return
        self._idle.setdefault(launcher.profile, []).append((self._loop.time(), launcher))
        if self._timer is None:
            self._timer = self._loop.call_later(IDLE_SEC, self._expire)

    def linger(self, launcher: Launcher) -> None:
        """Leave a launcher to the processes that it still has; it ends with the last of them."""
        launcher.listener = lambda _report: self.drop(launcher)

    def drop(self, launcher: Launcher) -> None:
        """End a launcher, and everything it still has."""
        launcher.close()
        self._all.discard(launcher)

    def strays(self) -> list[int]:
        """Return the children of this process that are none of its own: a launcher's, orphaned.

        A hook that kills its launcher does not escape: its processes come here.
        """
        own = {launcher.pid for launcher in self._all if launcher.alive}
        if self._nursery is not None:
            own.add(self._nursery.pid)
        return [pid for pid in tree.children(os.getpid()) if pid not in own]

    def close(self) -> None:
        """End all launchers and the nursery."""
        for launcher in list(self._all):
            self.drop(launcher)
        if self._timer is not None:
            self._timer.cancel()
        if self._nursery is not None:
            self._nursery.close()
        if self._groups is not None:
            self._groups.close()

    def _expire(self) -> None:
        """End what has waited too long; the longest waiting stand first."""
        self._timer = None
        oldest = self._loop.time() - IDLE_SEC
        for profile, waiting in list(self._idle.items()):
            while waiting and (waiting[0][0] <= oldest or not waiting[0][1].listens):
                self.drop(waiting.pop(0)[1])
            if not waiting:
                del self._idle[profile]
        if self._idle:
            self._timer = self._loop.call_later(IDLE_SEC / 2, self._expire)


def limit(pid: int, profile: Profile) -> None:
    """Set on a waiting launcher what its runs inherit.

    Raises psutil.Error, OSError, ValueError.
    """
    process = psutil.Process(pid)
    hard = process.rlimit(psutil.RLIMIT_NOFILE)[1]
    files = profile.open_files
    process.rlimit(
        psutil.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard) if files is None else (files, files)
    )
    if profile.cpu_time is not None:  # SIGXCPU at the limit, SIGKILL a second after
        process.rlimit(psutil.RLIMIT_CPU, (profile.cpu_time, profile.cpu_time + 1))
    if profile.file_size is not None:
        process.rlimit(psutil.RLIMIT_FSIZE, (profile.file_size, profile.file_size))
    if profile.nice:
        process.nice(profile.nice)
    if profile.io_class in IO_CLASSES:
        process.ionice(IO_CLASSES[profile.io_class])
    if profile.cpu_affinity is not None:
        process.cpu_affinity(list(profile.cpu_affinity))
