# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program that hooks are started from, with the test in the runner's place."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import select
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from hookd.runner.launch import abi

TREE = Path(__file__).parents[2]
SANITIZED = TREE / ".cache" / "hookd-launcher-sanitized"
ANSWER_WITHIN = 10.0  # seconds


def sanitized() -> Path:
    """Return the program as AddressSanitizer and UBSan watch it, compiled if it is older."""
    SANITIZED.parent.mkdir(exist_ok=True)
    sources = [TREE / "packaging/build-launcher", *(TREE / "hookd/runner/launch").glob("*.[ch]")]
    newest = max(path.stat().st_mtime for path in sources)
    with (SANITIZED.parent / "sanitize.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not SANITIZED.exists() or SANITIZED.stat().st_mtime < newest:
            build = [str(TREE / "packaging/build-launcher"), "--sanitize", str(SANITIZED)]
            subprocess.run(build, check=True)
    return SANITIZED


def found(program: Path) -> list[str]:
    """Return what the sanitizers have found since the last look."""
    reports = list(program.parent.glob(f"{program.name}.found.*"))
    texts = [path.read_text(errors="replace") for path in reports]
    for path in reports:
        path.unlink()
    return texts


def nobody() -> bytes:
    """Return a good order to fork a launcher: of a user without rights, if there is a choice."""
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    groups = [] if os.geteuid() == 0 else sorted(os.getgroups())
    head = abi.FORK.pack(user.pw_uid, user.pw_gid, 0, len(groups))
    return head + struct.pack(f"={len(groups)}I", *groups)


def order(*argv: str, directory: str = "/", env: Sequence[str] = ()) -> bytes:
    """Return a good order to run a program."""
    words = [argv[0], directory, *argv, *env, ""]
    texts = "\0".join(words).encode()
    return abi.RUN.pack(0o22, len(argv), len(env), len(texts)) + texts


class Launcher:
    """A launcher's socket, and its pidfd."""

    def __init__(self, sock: socket.socket, pid: int, pidfd: int) -> None:
        self.sock = sock
        self.pid = pid
        self.pidfd = pidfd

    def send(self, packet: bytes, fds: int = 3) -> bool:
        """Send an order, with so many descriptors; return whether there was anybody to take it."""
        null = os.open(os.devnull, os.O_RDWR)
        try:
            socket.send_fds(self.sock, [packet], [null] * fds)
        except OSError:
            return False
        finally:
            os.close(null)
        return True

    def reports(self) -> Iterator[tuple[int, ...]]:
        """Yield reports until a run is over; none come from a launcher that has ended."""
        while True:
            try:
                data = self.sock.recv(2 * abi.REPORT.size)
            except ConnectionResetError:
                return
            assert len(data) % abi.REPORT.size == 0
            for report in abi.REPORT.iter_unpack(data):
                yield report
                kind, left = report[:2]
                if kind in (abi.NO_DIRECTORY, abi.NOT_SPAWNED, abi.EMPTY):
                    return
                if kind == abi.ENDED and not left:
                    return
            if not data:
                return

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def close(self) -> None:
        """Let it go, and wait until it has."""
        self.sock.close()
        assert select.select([self.pidfd], [], [], ANSWER_WITHIN)[0], "a launcher does not end"
        os.close(self.pidfd)


class Zygote:
    """The zygote, on a socket."""

    def __init__(self, program: Path) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.settimeout(ANSWER_WITHIN)
        with theirs:
            self.process = subprocess.Popen(
                [str(program), abi.PACKETS],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict[str, str](),
                cwd="/",
            )

    def fork(self, packet: bytes, fds: int = 1) -> Launcher | int:
        """Ask for a launcher; return it, or the errno that it was refused with."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(ANSWER_WITHIN)
        with theirs:
            socket.send_fds(self._sock, [packet], [theirs.fileno()] * fds)
        data, given, _, _ = socket.recv_fds(self._sock, abi.FORKED.size, 1)
        pid, error = abi.FORKED.unpack(data)
        if not pid:
            ours.close()
            assert error and not given
            return int(error)
        return Launcher(ours, pid, given[0])

    def launcher(self) -> Launcher:
        """Return a launcher that takes orders."""
        made = self.fork(nobody())
        assert isinstance(made, Launcher)
        made.sock.send(b"\1")
        return made

    def close(self) -> None:
        """End it by leaving, and see that it ends as it should."""
        self._sock.close()
        assert self.process.wait(ANSWER_WITHIN) == 0


@contextlib.contextmanager
def zygote(program: Path) -> Iterator[Zygote]:
    """Have a zygote that must still be well in the end."""
    one = Zygote(program)
    try:
        yield one
    finally:
        one.close()
