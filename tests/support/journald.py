# SPDX-License-Identifier: LGPL-2.1-or-later
"""A socket that stands for journald's, where a journal is to be stuck or gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from hookd.system import journal
from hookd.system.journal import Journal


class Journald:
    """A socket in the place of journald's, which takes nothing by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    def fill(self) -> None:
        """Leave no room."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(str(self.path))
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.send(b"x")

    def empty(self) -> None:
        """Make room."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(10)

    def taken(self) -> list[dict[str, str]]:
        """Take what is there now; return the records among it."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                if (datagram := self.socket.recv(1 << 20)) != b"x":
                    found.append(journal.decode(datagram))
        return found

    async def take_from(self, one: Journal) -> list[dict[str, str]]:
        """Take records until all that was sent is here; return them."""
        loop, found = asyncio.get_running_loop(), self.taken()
        loop.add_reader(self.socket, lambda: found.extend(self.taken()))
        await one.flush(20)
        loop.remove_reader(self.socket)
        assert one.flushed
        return found + self.taken()

    def end(self) -> None:
        """Go, and leave nothing behind."""
        self.socket.close()
        self.path.unlink()
