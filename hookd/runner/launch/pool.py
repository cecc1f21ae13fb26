# SPDX-License-Identifier: LGPL-2.1-or-later
"""The launchers: each has a user and limits, has one run at a time, and is kept for a while.

The zygote forks them (see `launch/launcher.c`). This module sets their limits while they wait for
their first order. A run that leaves nothing costs two packets: its order and its reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable

import psutil

from hookd.runner.launch import abi, process
from hookd.runner.launch.cgroup import Group, Groups
from hookd.runner.launch.profile import Profile, Report, SpawnError
from hookd.runner.launch.zygote import Zygote, ZygoteLost
from hookd.system import faults

# Seconds for which a launcher without a run is kept. It costs a tenth of a megabyte and saves the
# next run with its profile a millisecond or two, so it may wait for the next job of an evening.
# Its working directory is /, so it keeps no other file system busy. But userdel(8) refuses to
# remove its user, so it is not kept for hours, and a reload ends all idle launchers.
IDLE_SEC = 120.0
RUNS = 2000  # runs of one launcher at most: it spends CPU time of the limit that runs inherit
FORKS = 32  # requests to the zygote at a time: more could overrun its socket
MAX_PACKETS = 4  # unread packets of a dead launcher: two reports, the end, one spare
OPEN_FILES = 1024  # the soft limit if the hook sets none: the kernel's and systemd's default
IO_CLASSES = {
    "realtime": psutil.IOPRIO_CLASS_RT,
    "best-effort": psutil.IOPRIO_CLASS_BE,
    "idle": psutil.IOPRIO_CLASS_IDLE,
}


class Launcher:
    """One launcher. `listener` is called with each report, and with None once it is dead.

    `unread` then tells whether the launcher left its order unread. If so, nothing was started: a
    process had changed, stopped or killed the launcher, and another one can be given the order.
    """

    def __init__(self, sock: socket.socket, profile: Profile, pid: int, pidfd: int) -> None:
        self.profile = profile
        self.pid = pid
        self.pidfd = pidfd
        self.group: Group | None = None
        self.runs = 0
        self.alive = True
        self.unread = False
        self.broken = False  # whether a fault has occurred in its callbacks
        self.listener: Callable[[Report | None], None] | None = None
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._called, self._readable)

    def equip(self, groups: Groups | None) -> None:
        """Set the limits and the control group that its runs inherit. Raises SpawnError."""
        try:
            limit(self.pid, self.profile)
            if groups is not None:
                self.group = groups.make(self.profile)
                self.group.enter(self.pid)
            self._sock.send(b"\1")  # tells it to give up its privileges
        except (psutil.Error, OSError, ValueError) as e:
            raise SpawnError(f"the limits cannot be set: {e}") from None

    def order(
        self, path: str, directory: str, umask: int, argv: list[bytes], env: list[bytes],
        fds: list[int],
    ) -> None:  # fmt: skip
        """Start a program; `fds` become its descriptors 0, 1 and 2. Raises SpawnError."""
        texts = b"\0".join([os.fsencode(path), os.fsencode(directory), *argv, *env, b""])
        head = abi.RUN.pack(umask, len(argv), len(env), len(texts))
        self.runs += 1
        if len(texts) > abi.MAX_LARGE:
            raise SpawnError(
                f"its arguments and environment are longer than {abi.MAX_LARGE} bytes"
            )
        try:
            if len(texts) <= abi.MAX_TEXTS:
                socket.send_fds(self._sock, [head, texts], fds)
                return
            with open(os.memfd_create("hookd-order"), "wb+") as file:
                file.write(texts)
                file.flush()
                socket.send_fds(self._sock, [head], [*fds, file.fileno()])
        except ConnectionError:
            self.unread = True  # the launcher is dead, which `_readable` will notice
        except OSError as e:
            raise SpawnError(f"its launcher cannot be given the order: {e.strerror}") from None

    def kill(self) -> None:
        """Kill only the launcher. The processes below it become orphans, children of the runner.

        The pidfd tells when it is dead: a child that hangs before its execve(2) may keep the
        socket open.
        """
        self._signal(signal.SIGKILL)
        if self.alive:
            self._loop.add_reader(self.pidfd, self._called, self._died)

    def _signal(self, number: int) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Close the launcher's socket. The launcher then kills its processes and exits."""
        self._signal(signal.SIGCONT)  # the hook may have stopped it
        self._hang_up()
        if self.group is not None:
            self.group.discard()
            self.group = None

    @property
    def listens(self) -> bool:
        """Whether the launcher can be given an order."""
        return self._sock.fileno() >= 0

    def _hang_up(self) -> None:
        if self.listens:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
        if self.alive:
            self.alive = False
            self._loop.remove_reader(self.pidfd)
            os.close(self.pidfd)

    def _called(self, act: Callable[[], None]) -> None:
        faults.guarded("a launcher", act, self._broken)

    def _broken(self, error: Exception) -> None:
        """End a launcher whose callback met a fault, and its run."""
        self.kill()
        if self.broken or not self.alive:
            if self.listener is not None:
                self.listener(None)
            return
        self.broken = True
        if self.listens:
            self._loop.remove_reader(self._sock.fileno())
        self._loop.add_reader(self.pidfd, self._called, self._died)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(2 * abi.REPORT.size)
        except BlockingIOError:
            return
        except ConnectionResetError:  # unix(7): it was closed with unread data in it
            data = b""
            self.unread = True
        if data and len(data) % abi.REPORT.size == 0:
            for kind, left, *numbers in abi.REPORT.iter_unpack(data):
                if self.listener is not None:
                    self.listener(Report(kind, bool(left), *numbers))
            return
        # A dying process closes its files before its children get another parent. The pidfd
        # becomes readable after that.
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._loop.add_reader(self.pidfd, self._called, self._died)

    def _died(self) -> None:
        for _ in range(MAX_PACKETS):  # those that it sent before it died
            if not self.listens or not faults.guarded("a launcher", self._readable):
                break
        if not self.alive:
            return  # its run has given it up meanwhile
        self._hang_up()
        if self.listener is not None:
            self.listener(None)


class Pool:
    """All launchers, and the zygote that forks them."""

    def __init__(self, groups: Groups | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._groups = groups
        self._zygote: Zygote | None = None
        self._idle: dict[Profile, list[tuple[float, Launcher]]] = {}
        self._all: set[Launcher] = set()
        self._timer = faults.Timer(self._expire)
        self._forks = asyncio.Semaphore(FORKS)
        self._forgotten: set[Launcher] = set()

    def start(self) -> None:
        """Start the zygote. Raises ProgramError."""
        self._zygote = Zygote()

    def take(self, profile: Profile) -> Launcher | None:
        """Return an idle launcher with this profile, or None if one must be made."""
        waiting = self._idle.get(profile)
        while waiting:
            launcher = waiting.pop()[1]
            if launcher.listens:
                return launcher
        return None

    async def make(self, profile: Profile) -> Launcher:
        """Return a new launcher. Raises SpawnError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                async with self._forks:
                    pid, pidfd = await self._fork(profile, theirs)
        except BaseException:
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

    async def _fork(self, profile: Profile, theirs: socket.socket) -> tuple[int, int]:
        """Have the zygote fork a launcher; if the zygote dies, ask a new one.

        A hook may have stopped the zygote, which is then killed. Raises SpawnError.
        """
        if self._zygote is not None and not self._zygote.lost:
            with contextlib.suppress(ZygoteLost):
                return await self._zygote.fork(profile, theirs)
        if self._zygote is None or self._zygote.lost:
            self._zygote = Zygote()
        return await self._zygote.fork(profile, theirs)

    def give_back(self, launcher: Launcher) -> None:
        """Keep a launcher for the next run. Its last run has left nothing."""
        launcher.listener = None
        if not launcher.listens or launcher.runs >= RUNS or launcher in self._forgotten:
            self.drop(launcher)
            return
        self._idle.setdefault(launcher.profile, []).append((self._loop.time(), launcher))
        self._timer.within(IDLE_SEC)

    def forget(self) -> None:
        """End each launcher once it has no run.

        A reload calls this: the new configuration may need neither the launcher nor its user.
        """
        for waiting in self._idle.values():
            for _, launcher in waiting:
                self.drop(launcher)
        self._idle.clear()
        self._forgotten = set(self._all)

    def drop(self, launcher: Launcher) -> None:
        """End a launcher and everything below it."""
        launcher.close()
        self._all.discard(launcher)
        self._forgotten.discard(launcher)

    def strays(self) -> list[int]:
        """Return the PIDs of orphans: children of this process that it did not start itself.

        A hook that kills its launcher does not escape, since its processes become orphans here.
        """
        own = {launcher.pid for launcher in self._all if launcher.alive}
        if self._zygote is not None:
            own.add(self._zygote.pid)
        return [pid for pid in process.children(os.getpid()) if pid not in own]

    def close(self) -> None:
        """End all launchers and the zygote."""
        for launcher in list(self._all):
            self.drop(launcher)
        self._timer.cancel()
        if self._zygote is not None:
            self._zygote.close()
        if self._groups is not None:
            self._groups.close()

    def _expire(self) -> None:
        """End the launchers that have waited too long. The lists begin with the oldest."""
        oldest = self._loop.time() - IDLE_SEC
        for profile, waiting in list(self._idle.items()):
            while waiting and (waiting[0][0] <= oldest or not waiting[0][1].listens):
                self.drop(waiting.pop(0)[1])
            if not waiting:
                del self._idle[profile]
        if self._idle:
            self._timer.within(IDLE_SEC / 2)


def limit(pid: int, profile: Profile) -> None:
    """Set the limits that a launcher's runs inherit, while it waits for its first order.

    Raises psutil.Error, OSError, ValueError.
    """
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    soft = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if profile.open_files is not None:
        soft = hard = profile.open_files
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    if profile.cpu_time is not None:  # SIGXCPU at the limit, SIGKILL a second later
        resource.prlimit(pid, resource.RLIMIT_CPU, (profile.cpu_time, profile.cpu_time + 1))
    if profile.file_size is not None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (profile.file_size, profile.file_size))
    if profile.nice:
        os.setpriority(os.PRIO_PROCESS, pid, profile.nice)
    if profile.io_class in IO_CLASSES:
        psutil.Process(pid).ionice(IO_CLASSES[profile.io_class])
    if profile.cpu_affinity is not None:
        os.sched_setaffinity(pid, profile.cpu_affinity)
