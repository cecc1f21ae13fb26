# SPDX-License-Identifier: LGPL-2.1-or-later
"""The runner's side of the zygote, the small process that launchers are forked from.

A new launcher costs only a fork of a process with very little memory, not the start of a program.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import subprocess
from collections import deque

from hookd.runner.launch import abi
from hookd.runner.launch.profile import Profile, SpawnError
from hookd.system import faults

ANSWER_SEC = 10.0  # that the zygote has to fork; if it takes longer, it was stopped and is killed


class ProgramError(SpawnError):
    """The zygote's program cannot be started; the text says why."""


class ZygoteLost(SpawnError):
    """The zygote has died without an answer. A new one can be asked."""


class Zygote:
    """The process that forks launchers. It answers requests in their order.

    Raises ProgramError.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: deque[asyncio.Future[tuple[int, int]]] = deque()
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [abi.PROGRAM, abi.PACKETS],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=dict[str, str](),
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as e:
                self._sock.close()
                raise ProgramError(_why(e)) from None
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock.fileno(), self._called)
        self.lost = False

    @property
    def pid(self) -> int:
        """The PID of the process."""
        return self._process.pid

    async def fork(self, profile: Profile, theirs: socket.socket) -> tuple[int, int]:
        """Fork a launcher that gets this end of a socket pair; return its PID and a pidfd.

        Raises SpawnError, or ZygoteLost if the zygote dies.
        """
        account = profile.account
        groups = sorted(account.groups)
        data = abi.FORK.pack(account.uid, account.gid, profile.confine, len(groups))
        answer: asyncio.Future[tuple[int, int]] = self._loop.create_future()
        try:
            packet = [data, struct.pack(f"={len(groups)}I", *groups)]
            socket.send_fds(self._sock, packet, [theirs.fileno()])
        except OSError as e:
            raise SpawnError(f"no launcher can be made: {e.strerror}") from None
        self._asked.append(answer)
        late = self._loop.call_later(ANSWER_SEC, self._process.kill)
        try:
            return await answer
        finally:
            late.cancel()

    def close(self) -> None:
        """Kill the zygote and wait for its end."""
        self._forget("the runner stops")
        self._process.kill()  # a stopped zygote would not exit by itself
        self._process.wait()

    def _called(self) -> None:
        faults.guarded(
            "an answer of the zygote", self._readable, lambda e: self._forget(faults.words(e))
        )

    def _readable(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._sock, abi.FORKED.size, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._forget("the process that makes launchers has died")
            self._process.wait()
            return
        pid, error = abi.FORKED.unpack(data)
        answer = self._asked.popleft()
        if answer.done():
            for fd in fds:
                os.close(fd)
        elif pid and fds:
            answer.set_result((pid, fds[0]))
        else:
            answer.set_exception(SpawnError(f"no process can be made: {os.strerror(error)}"))

    def _forget(self, why: str) -> None:
        if self.lost:
            return
        self.lost = True
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(ZygoteLost(why))


def _why(error: OSError) -> str:
    """Return the reason, in words, why the program cannot be started."""
    if not abi.PROGRAM.exists():
        return f"{abi.PROGRAM} is missing: packaging/setup compiles it in a source tree"
    if error.errno == errno.ENOEXEC:
        return f"{abi.PROGRAM} is no program for this machine ({os.uname().machine})"
    return f"{abi.PROGRAM}: {error.strerror}"
