# SPDX-License-Identifier: LGPL-2.1-or-later
"""The runner's side of the nursery: the one small process that launchers are forked from.

A launcher costs a fork of a few megabytes, a millisecond, and not the start of an interpreter.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections import deque

from hookd.runner import launcher as program
from hookd.runner.profile import Profile, SpawnError


class Nursery:
    """The process that forks launchers; questions are answered in their order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: deque[asyncio.Future[tuple[int, int]]] = deque()
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", program.__file__],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=dict[str, str](),
                cwd="/",
                start_new_session=True,
            )
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock.fileno(), self._readable)
        self.lost = False

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    async def fork(self, profile: Profile, theirs: socket.socket) -> tuple[int, int]:
        """Have a launcher made with this end of a socketpair; return its PID and a pidfd.

        Raises SpawnError.
        """
        account = profile.account
        data = program.FORK.pack(
            account.uid, account.gid, profile.confine, len(account.groups)
        ) + struct.pack(f"={len(account.groups)}I", *account.groups)
        answer: asyncio.Future[tuple[int, int]] = self._loop.create_future()
        with theirs:
            try:
                socket.send_fds(self._sock, [data], [theirs.fileno()])
            except OSError as e:
                raise SpawnError(f"no launcher can be made: {e.strerror}") from None
        self._asked.append(answer)
        return await answer

    def close(self) -> None:
        """End it, and wait until it has."""
        self._forget("the runner stops")
        self._process.wait()

    def _readable(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._sock, program.FORKED.size, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._forget("the process that makes launchers has died")
            self._process.wait()
            return
        pid, error = program.FORKED.unpack(data)
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
                answer.set_exception(SpawnError(why))
