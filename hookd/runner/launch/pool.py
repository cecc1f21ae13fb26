# SPDX-License-Identifier: LGPL-2.1-or-later
"""Launchers: made with a user and limits, kept for a while, given a run each.

The zygote forks them (see `launch/launcher.c`); they get their limits from here while they wait
for their first order. The clean way of a run costs two packets here, one there and one back.
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

# Seconds for which a launcher without a run is kept. It costs a tenth of a megabyte and spares the
# next run of its kind a millisecond or two, so it may wait until the next job of an evening. It
# stands in / and keeps no file system busy, but userdel(8) refuses while it is there: hence not
# for hours, and a reload ends all that wait.
IDLE_SEC = 120.0
RUNS = 2000  # runs of one launcher: its own CPU time counts against the limit that it passes on
FORKS = 32  # launchers asked for at a time: more questions could overrun the zygote's socket
MAX_PACKETS = 4  # of a launcher that may lie unread: two reports, an end, one to spare
OPEN_FILES = 1024  # the soft limit where none is set: the kernel's and systemd's default
IO_CLASSES = {
    "realtime": psutil.IOPRIO_CLASS_RT,
    "best-effort": psutil.IOPRIO_CLASS_BE,
    "idle": psutil.IOPRIO_CLASS_IDLE,
}


class Launcher:
    """One launcher. `listener` is called with each report, with None when it has died.

    `unread` is then whether it left its order unread, so that nothing was started: somebody had
    changed, stopped or killed it, and another launcher can be given the order.
    """

    def __init__(self, sock: socket.socket, profile: Profile, pid: int, pidfd: int) -> None:
        self.profile = profile
        self.pid = pid
        self.pidfd = pidfd
        self.group: Group | None = None
        self.runs = 0
        self.alive = True
        self.unread = False
        self.broken = False  # whether an error of hookd's own has befallen it
        self.listener: Callable[[Report | None], None] | None = None
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._called, self._readable)

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
            self.unread = True  # its end is noticed in a moment
        except OSError as e:
            raise SpawnError(f"its launcher cannot be given the order: {e.strerror}") from None

    def kill(self) -> None:
        """Kill the launcher itself; what it had started comes to the runner.

        Its socket may stay open, in a child that hangs before its execve(2): the pidfd tells.
        """
        self._signal(signal.SIGKILL)
        if self.alive:
            self._loop.add_reader(self.pidfd, self._called, self._died)

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

    def _called(self, act: Callable[[], None]) -> None:
        faults.guarded("a launcher", act, self._broken)

    def _broken(self, error: Exception) -> None:
        """End a launcher that nobody can understand, and the run that it has."""
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
        except ConnectionResetError:  # unix(7): it was closed with something unread in it
            data = b""
            self.unread = True
        if data and len(data) % abi.REPORT.size == 0:
            for kind, left, *numbers in abi.REPORT.iter_unpack(data):
                if self.listener is not None:
                    self.listener(Report(kind, bool(left), *numbers))
            return
        # A dying process closes its files before its children are given to another parent; the
        # pidfd tells when that is done.
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._loop.add_reader(self.pidfd, self._called, self._died)

    def _died(self) -> None:
        for _ in range(MAX_PACKETS):  # that it has sent and nobody has read yet
            if not self.listens or not faults.guarded("a launcher", self._readable):
                break
        if not self.alive:
            return  # its run has parted with it meanwhile
        self._hang_up()
        if self.listener is not None:
            self.listener(None)


class Pool:
    """All launchers, and the zygote they come from."""

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
        """Return a launcher that waits for work, None where one must be made."""
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
        """Have the zygote fork, a new one where it dies of it: a hook may have stopped it."""
        if self._zygote is not None and not self._zygote.lost:
            with contextlib.suppress(ZygoteLost):
                return await self._zygote.fork(profile, theirs)
        if self._zygote is None or self._zygote.lost:
            self._zygote = Zygote()
        return await self._zygote.fork(profile, theirs)

    def give_back(self, launcher: Launcher) -> None:
        """Keep a launcher that has nothing left of its run, for the next one."""
        launcher.listener = None
        if not launcher.listens or launcher.runs >= RUNS or launcher in self._forgotten:
            self.drop(launcher)
            return
        self._idle.setdefault(launcher.profile, []).append((self._loop.time(), launcher))
        self._timer.within(IDLE_SEC)

    def forget(self) -> None:
        """End each launcher once it has no run: nobody may need it after a reload, or its user."""
        for waiting in self._idle.values():
            for _, launcher in waiting:
                self.drop(launcher)
        self._idle.clear()
        self._forgotten = set(self._all)

    def drop(self, launcher: Launcher) -> None:
        """End a launcher, and everything it still has."""
        launcher.close()
        self._all.discard(launcher)
        self._forgotten.discard(launcher)

    def strays(self) -> list[int]:
        """Return the children of this process that are none of its own: a launcher's, orphaned.

        A hook that kills its launcher does not escape: its processes come here.
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
        """End what has waited too long; the longest waiting stand first."""
        oldest = self._loop.time() - IDLE_SEC
        for profile, waiting in list(self._idle.items()):
            while waiting and (waiting[0][0] <= oldest or not waiting[0][1].listens):
                self.drop(waiting.pop(0)[1])
            if not waiting:
                del self._idle[profile]
        if self._idle:
            self._timer.within(IDLE_SEC / 2)


def limit(pid: int, profile: Profile) -> None:
    """Set on a waiting launcher what its runs inherit.

    Raises psutil.Error, OSError, ValueError.
    """
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    soft = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if profile.open_files is not None:
        soft = hard = profile.open_files
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    if profile.cpu_time is not None:  # SIGXCPU at the limit, SIGKILL a second after
        resource.prlimit(pid, resource.RLIMIT_CPU, (profile.cpu_time, profile.cpu_time + 1))
    if profile.file_size is not None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (profile.file_size, profile.file_size))
    if profile.nice:
        os.setpriority(os.PRIO_PROCESS, pid, profile.nice)
    if profile.io_class in IO_CLASSES:
        psutil.Process(pid).ionice(IO_CLASSES[profile.io_class])
    if profile.cpu_affinity is not None:
        os.sched_setaffinity(pid, profile.cpu_affinity)
