# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program that hooks are started from: one launcher for each run, none of hookd imported.

The runner starts this file once (`python -I -S launcher.py`, a socket as descriptor 0): that
process is the *nursery*. At the runner's word it forks *launchers*: the runner gives each its
limits from outside (nice, rlimits, a cgroup), then it takes on the user of a hook and becomes the
reaper of whatever its runs leave behind. Orders follow, one run at a time; what it spawns has all
of that before its first instruction. So a run costs one vfork of a small process, there is no
code between fork and exec, and every process of a run, escaped by setsid or a double fork or not,
stays below its launcher: when wait4(2) says ECHILD, nothing of the run is left.

Both sockets carry packets; a side that reads an end of file knows that the other is dead. A
launcher without a runner kills all it has started and exits. Stdlib only, few imports: the size
of this process is what a fork costs.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import sys
import time

FORK = struct.Struct("=IIBH")
"""Order to the nursery: uid, gid, whether to confine signals, number of groups, then those."""
FORKED = struct.Struct("=ii")
"""Its answer: pid (with a pidfd), or 0 and an errno."""
RUN = struct.Struct("=HHI")
"""Order to a launcher: umask, number of arguments, length of the texts: the program's path, the
working directory, arguments, environment, each ended by NUL. Longer texts than `MAX_INLINE` are
in a descriptor of their own, the fourth after those for the program's 0, 1 and 2."""
REPORT = struct.Struct("=BBiiqqqq")
"""From a launcher: kind, whether processes are left, pid, wait status or errno, CLOCK_REALTIME
and CLOCK_MONOTONIC in ns, CPU of all that was reaped in us, the largest process's peak in KiB."""
NO_DIRECTORY, NOT_SPAWNED, STARTED, ENDED, EMPTY = range(5)
MAX_INLINE = 65536  # bytes; a packet larger than the socket's buffer could never be sent
MAX_FDS = 4
GATHER_MSEC = 5  # how long the word that a run has started may wait for the word that it has ended

# prctl(2) and Landlock, which the standard library has no names for
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 4, 36, 38
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_RESTRICT_SELF = 444, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_SCOPE_SIGNAL = 2
LANDLOCK_ABI_WITH_SCOPES = 6  # Linux 6.12
POSIX_SPAWN_SETSIGDEF, POSIX_SPAWN_SETSIGMASK, POSIX_SPAWN_SETSID = 0x04, 0x08, 0x80  # spawn.h
SIGNALS = 1024  # bits of a sigset_t
OPAQUE = 512  # bytes that hold a posix_spawnattr_t or posix_spawn_file_actions_t, both about 300

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Call prctl(2) with one value. Raises OSError."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def can_confine_signals() -> bool:
    """Return whether Landlock can keep a process from signalling those outside its run."""
    abi = _libc.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    return bool(abi >= LANDLOCK_ABI_WITH_SCOPES)


def confine_signals() -> None:
    """Forbid this process and its children, for good, to signal any but each other.

    landlock(7); without privileges it demands no_new_privs, so set-user-ID programs lose their
    power. Raises OSError.
    """
    attributes = struct.pack("=QQQ", 0, 0, LANDLOCK_SCOPE_SIGNAL)
    ruleset = _libc.syscall(SYS_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if _libc.syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


def children() -> list[int]:
    """Return the PIDs of this process's children (proc(5): task/TID/children)."""
    with open("/proc/thread-self/children") as file:
        return [int(pid) for pid in file.read().split()]


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Return the next packet and its descriptors; no bytes: the other side is gone."""
    fds = array.array("i")
    data, ancillary, _, _ = sock.recvmsg(
        RUN.size + MAX_INLINE, socket.CMSG_SPACE(MAX_FDS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for _, _, content in ancillary:
        fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


class Spawner:
    """Spawns one run at a time and reaps it whole."""

    def __init__(self, sock: socket.socket, wake: int) -> None:
        self.sock = sock
        self.wake = wake
        self.cpu = 0
        self.peak = 0
        self.unsent = b""
        self.attributes = spawn_attributes()
        self.poll = select.poll()
        self.poll.register(sock, select.POLLIN)
        self.poll.register(wake, select.POLLIN)

    def serve(self) -> None:
        """Take orders until the runner is gone."""
        while (received := receive(self.sock))[0]:
            data, fds = received
            self.cpu = self.peak = 0
            pid = self.spawn(data, fds)
            if pid and not self.attend(pid):
                return

    def report(self, kind: int, pid: int = 0, status: int = 0, left: bool = False) -> None:
        """Tell the runner, in one packet with what was not told yet."""
        self.note(moment(), kind, pid, status, left)
        self.send()

    def note(
        self, at: tuple[int, int], kind: int, pid: int = 0, status: int = 0, left: bool = False
    ) -> None:
        """Put down what the runner is to be told, and when it was."""
        self.unsent += REPORT.pack(kind, left, pid, status, *at, self.cpu, self.peak)

    def send(self) -> None:
        """Tell the runner what it was not told yet; one that is gone is noticed elsewhere."""
        unsent, self.unsent = self.unsent, b""
        with contextlib.suppress(OSError):
            self.sock.send(unsent)

    def spawn(self, order: bytes, fds: list[int]) -> int:
        """Start what the order says; return the PID, 0 where that failed."""
        umask, argc, length = RUN.unpack_from(order)
        texts = order[RUN.size :]
        if not texts:
            with open(fds[3], "rb", closefd=False) as file:
                texts = file.read(length)
        path, directory, *words = texts.split(b"\0")
        try:
            os.umask(umask)
            os.chdir(directory)
        except OSError as e:
            self.report(NO_DIRECTORY, status=e.errno or 0)
            pid = 0
        else:
            pid = self.execute(path, words[:argc], words[argc:-1], fds)
        for fd in fds:
            os.close(fd)
        return pid

    def execute(self, path: bytes, argv: list[bytes], env: list[bytes], fds: list[int]) -> int:
        """Spawn, in a session of its own, with default signals and these descriptors alone."""
        actions = ctypes.create_string_buffer(OPAQUE)
        _libc.posix_spawn_file_actions_init(actions)
        for number, fd in enumerate(fds[:3]):
            _libc.posix_spawn_file_actions_adddup2(actions, fd, number)
        pid = ctypes.c_int()
        began = moment()  # afterwards the program may have ended before we are awake again
        error = _libc.posix_spawn(
            ctypes.byref(pid), path, actions, self.attributes, strings(argv), strings(env)
        )
        _libc.posix_spawn_file_actions_destroy(actions)
        if error:
            self.report(NOT_SPAWNED, status=error)
            return 0
        self.note(began, STARTED, pid.value)
        return pid.value

    def attend(self, main: int) -> bool:
        """Reap until nothing of the run is left; False when the runner died meanwhile.

        The start of a run that is over at once is told together with its end: half the packets,
        and half the wakeups of the runner.
        """
        ended = False
        while True:
            ready = dict(self.poll.poll(GATHER_MSEC if self.unsent else None))
            if not ready:
                self.send()
                continue
            if self.sock.fileno() in ready:
                return False  # nothing is ordered during a run: this is the end of the runner
            os.read(self.wake, 4096)
            status, left = self.reap(main)
            if status is not None:
                ended = True
                self.report(ENDED, main, status, left)
            elif ended and not left:
                self.report(EMPTY)
            if ended and not left:
                return True

    def reap(self, main: int) -> tuple[int | None, bool]:
        """Wait for all that has ended; return the main one's status, and whether any is left."""
        status = None
        while True:
            try:
                pid, code, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return status, False
            if pid == 0:
                return status, True
            self.cpu += int((usage.ru_utime + usage.ru_stime) * 1e6)
            self.peak = max(self.peak, usage.ru_maxrss)
            if pid == main:
                status = code


def moment() -> tuple[int, int]:
    """Return now on both clocks, real time and monotonic, in ns."""
    return time.time_ns(), time.monotonic_ns()


def spawn_attributes() -> ctypes.Array[ctypes.c_char]:
    """Return the attributes of every spawn: a new session, no signal blocked, all at default.

    posix_spawn(3) is called directly, because `os.posix_spawn` cannot name the two signals that
    the C library keeps for itself, and would leave them ignored for the program to find.
    """
    attributes = ctypes.create_string_buffer(OPAQUE)
    flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID
    _libc.posix_spawnattr_init(attributes)
    _libc.posix_spawnattr_setflags(attributes, ctypes.c_short(flags))
    _libc.posix_spawnattr_setsigdefault(attributes, b"\xff" * (SIGNALS // 8))
    _libc.posix_spawnattr_setsigmask(attributes, bytes(SIGNALS // 8))
    return attributes


def strings(texts: list[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    """Return a vector of strings as execve(2) takes it, ended by a null pointer."""
    return (ctypes.c_char_p * (len(texts) + 1))(*texts, None)


def kill_children() -> None:
    """Kill until none is left that may be killed; orphans of the killed come here in turn."""
    while pids := children():
        alive = 0
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                alive += 1
            except PermissionError:
                pass  # a set-user-ID program: only the service manager can end it
        if not alive:
            return
        os.wait4(-1, 0)


def launch(sock: int, uid: int, gid: int, groups: list[int], confine: bool) -> None:
    """Be a launcher from the fork to the exit.

    The first packet says that the limits are set: that may need the privileges given up then.
    """
    try:
        os.setsid()
        if os.read(sock, 1):
            become(uid, gid, groups, confine)
            serve(sock)
            kill_children()
        os._exit(0)
    except BaseException as e:  # the nursery's loop must never go on in here
        complain(e)
        os._exit(1)


def become(uid: int, gid: int, groups: list[int], confine: bool) -> None:
    """Take on the user, out of reach of ptrace(2), and the duty to reap."""
    if sorted(os.getgroups()) != groups:
        os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if confine:
        confine_signals()


def serve(sock: int) -> None:
    """Take orders until the runner is gone.

    The descriptors 0-2, which a program's own replace, are the launcher's socket and the pipe by
    which SIGCHLD wakes it: so a small limit on open files leaves room for an order's.
    """
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number, fd in enumerate((sock, wake, waker)):
        os.dup2(fd, number)
        os.close(fd)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(2)
    Spawner(socket.socket(fileno=0), 1).serve()


def complain(error: BaseException) -> None:
    """Say on stderr why this process ends; the runner notices the end itself."""
    sys.stderr.write(f"hookd-runner: launcher {os.getpid()}: {error!r}\n")
    sys.stderr.flush()


def nursery(sock: socket.socket) -> None:
    """Fork launchers until the runner is gone."""
    prctl(PR_SET_DUMPABLE, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # launchers are reaped by the kernel
    while (received := receive(sock))[0]:
        data, fds = received
        uid, gid, confine, count = FORK.unpack_from(data)
        groups = list(struct.unpack_from(f"={count}I", data, FORK.size))
        try:
            pid = os.fork()
            if pid == 0:
                launch(fds[0], uid, gid, groups, bool(confine))
            pidfd = os.pidfd_open(pid)
        except OSError as e:
            sock.send(FORKED.pack(0, e.errno))
        else:
            socket.send_fds(sock, [FORKED.pack(pid, 0)], [pidfd])
            os.close(pidfd)
        os.close(fds[0])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        nursery(socket.socket(fileno=0))
    except Exception as e:
        complain(e)
        os._exit(1)
