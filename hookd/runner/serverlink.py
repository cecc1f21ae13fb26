# SPDX-License-Identifier: LGPL-2.1-or-later
"""The runner's end of the link: one server at a time, frames in, frames out; knows no message.

A connection is read to its end before the next is served, so nothing that a dying server had
still said is lost or comes late.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
from collections.abc import Callable

from hookd.link import CHUNK, FrameReader, Message, encode
from hookd.sockets import credentials

SERVER_USER = "hookd"


class ServerLink:
    """`welcome` makes what is said first, `take` is given each message, `complain` bad peers."""

    def __init__(
        self,
        welcome: Callable[[], Message],
        take: Callable[[Message], None],
        complain: Callable[[str], None],
    ) -> None:
        self._welcome = welcome
        self._take = take
        self._complain = complain
        self._loop = asyncio.get_running_loop()
        self._connection: _Connection | None = None
        self._outbox: list[Message] = []

    def send(self, message: Message) -> None:
        """Send a message with all others of this turn of the loop; dropped where nobody is.

        Nothing is lost by that: the next server's Welcome has it.
        """
        if self._connection is None:
            return
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(message)

    async def serve(self, sock: socket.socket) -> None:
        """Serve one connection to its end."""
        connection = _Connection(self._take)
        await self._loop.connect_accepted_socket(lambda: connection, sock)
        self._outbox = [self._welcome()]
        self._connection = connection
        self._flush()
        try:
            error = await connection.closed
        finally:
            self._connection = None
            self._outbox = []
        if error:
            self._complain(error)

    async def listen(self, listener: socket.socket) -> None:
        """Serve one server after the other, for ever."""
        listener.setblocking(False)
        while True:
            sock, _ = await self._loop.sock_accept(listener)
            _, uid, _ = credentials(sock)
            if uid in allowed_peers():
                await self.serve(sock)
            else:
                sock.close()
                self._complain(f"a process of uid {uid} may not use the runner's socket")

    async def close(self) -> None:
        """Say what is still to be said and close the connection."""
        if self._connection is not None:
            self._flush()
            await self._connection.finish()

    def _flush(self) -> None:
        messages, self._outbox = self._outbox, []
        if self._connection is not None and messages:
            self._connection.write(encode(messages))


class _Connection(asyncio.BufferedProtocol):
    """One connection. `closed` has the reason where it was not an ordinary end."""

    def __init__(self, take: Callable[[Message], None]) -> None:
        self._take = take
        self._frames = FrameReader()
        self._chunk = memoryview(bytearray(CHUNK))
        self._transport: asyncio.Transport
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._chunk

    def buffer_updated(self, nbytes: int) -> None:
        try:
            messages = self._frames.feed(self._chunk[:nbytes])
        except ValueError as e:
            self._end(f"the server's message was not understood: {e}")
            self._transport.abort()
            return
        for message in messages:
            self._take(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("")

    def write(self, data: bytes) -> None:
        """Send; what the socket does not take at once is kept."""
        self._transport.write(data)

    async def finish(self) -> None:
        """Send what is kept, then close."""
        self._transport.close()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([self.closed], timeout=2.0)

    def _end(self, error: str) -> None:
        if not self.closed.done():
            self.closed.set_result(error)


def allowed_peers() -> set[int]:
    """Return who may be the server: root, this process's user, and hookd's own."""
    peers = {0, os.geteuid()}
    with contextlib.suppress(KeyError):
        peers.add(pwd.getpwnam(SERVER_USER).pw_uid)
    return peers
