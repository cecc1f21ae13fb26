# SPDX-License-Identifier: LGPL-2.1-or-later
"""The runner's end of the link. It serves one server at a time and passes its messages on.

A connection is read to its end before the next one is served, so the last messages of a dying
server are neither lost nor late.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from functools import partial

from hookd.link import CHUNK, FrameReader, Message, Reload, encode_all
from hookd.system import faults
from hookd.system.sockets import credentials

SLICE = 64  # messages handled in one turn of the loop: a start may take a millisecond
MOST_INBOX = 16 * SLICE  # waiting messages; with more, reading pauses


class ServerLink:
    """The link to whichever server is connected.

    `welcome` returns the first messages to a server. `take` is called with each message that
    arrives, and `failed` with a message for which `take` raised, and the error. `complain` is
    called with the reason when a peer is rejected or a connection is broken off.
    """

    def __init__(
        self,
        welcome: Callable[[], list[Message]],
        take: Callable[[Message], None],
        failed: Callable[[Message, Exception], None],
        complain: Callable[[str], None],
    ) -> None:
        self._welcome = welcome
        self._take = take
        self._failed = failed
        self._complain = complain
        self._loop = asyncio.get_running_loop()
        self._connection: _Connection | None = None
        self._outbox: list[Message] = []
        self._flush_soon = faults.Timer(self._flush)

    def send(self, message: Message) -> None:
        """Send a message, together with all others of this turn of the loop.

        It is dropped if no server is connected. Nothing is lost: the next Welcome has it.
        """
        if self._connection is None:
            return
        self._flush_soon.soon()
        self._outbox.append(message)

    async def serve(self, sock: socket.socket) -> None:
        """Serve one connection until it ends."""
        connection = _Connection(self._take, self._failed)
        await self._loop.connect_accepted_socket(lambda: connection, sock)
        try:
            self._outbox = self._welcome()
            self._connection = connection
            self._flush()
            error = await connection.closed
        finally:
            connection.abort()
            self._connection = None
            self._outbox = []
        if error:
            self._complain(error)

    async def listen(self, listener: socket.socket) -> None:
        """Serve one server after the other, forever."""
        listener.setblocking(False)
        allowed = allowed_peers(listener)
        while True:
            sock, _ = await self._loop.sock_accept(listener)
            _, uid, _ = credentials(sock)
            if uid in allowed:
                await self.serve(sock)
            else:
                sock.close()
                self._complain(f"a process of uid {uid} may not use the runner's socket")

    async def close(self) -> None:
        """Send the messages that still wait and close the connection."""
        if self._connection is not None:
            self._flush()
            await self._connection.finish()

    def _flush(self) -> None:
        messages, self._outbox = self._outbox, []
        if self._connection is not None and messages:
            for frame in encode_all(messages, lambda _, e: faults.report(e, "a message")):
                self._connection.write(frame)


class _Connection(faults.Connection):
    """One connection. `closed` yields the reason for its end, or "" if the end was ordinary."""

    def __init__(
        self, take: Callable[[Message], None], failed: Callable[[Message, Exception], None]
    ) -> None:
        self._take = take
        self._failed = failed
        self._inbox: deque[Message] = deque()
        self._hand_on_soon = faults.Timer(self._hand_on)
        self._over = False  # whether the peer has closed the connection
        self._error = ""
        self._stuffed = False  # whether output waits because the server does not read
        self._reloads = False  # whether a Reload waits in the inbox
        self._frames = FrameReader()
        self._chunk = memoryview(bytearray(CHUNK))
        self._transport: asyncio.Transport
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._chunk

    def buffer_updated(self, nbytes: int) -> None:
        try:
            messages = self._frames.feed(self._chunk[:nbytes])
        except ValueError as e:
            self._error = f"the server's message was not understood: {e}"
            self._transport.abort()
            return
        for message in messages:
            if isinstance(message, Reload):
                if self._reloads:
                    continue  # one reload answers all requests that arrive together
                self._reloads = True
            self._inbox.append(message)
        if len(self._inbox) > MOST_INBOX:
            self._transport.pause_reading()
        if self._inbox and self._hand_on_soon.when is None:
            self._hand_on()

    def _hand_on(self) -> None:
        """Handle the messages in the inbox, SLICE in each turn of the loop.

        The runs need turns too.
        """
        if self._stuffed:  # a server that does not read its answers gets no more of them
            return
        for _ in range(min(len(self._inbox), SLICE)):
            message = self._inbox.popleft()
            self._reloads = self._reloads and not isinstance(message, Reload)
            faults.guarded(
                "a message of the server", partial(self._take, message),
                partial(self._failed, message),
            )  # fmt: skip
        if self._inbox:
            self._hand_on_soon.soon()
        elif self._over:
            self._end()
        if not self._over and len(self._inbox) <= MOST_INBOX:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self._stuffed = True

    def resume_writing(self) -> None:
        self._stuffed = False
        self._hand_on_soon.soon()

    def lost(self) -> None:
        """End the connection once every message that has arrived is handled."""
        self._over, self._stuffed = True, False
        self._hand_on_soon.soon()

    def lost_all_the_same(self) -> None:
        self._end()

    def abort(self) -> None:
        """Close the connection at once and drop what is still to be sent."""
        self._transport.abort()

    def write(self, data: bytes) -> None:
        """Send data; what the socket does not take at once is buffered."""
        self._transport.write(data)

    async def finish(self) -> None:
        """Send what is buffered, then close; wait at most two seconds for that."""
        self._transport.close()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([self.closed], timeout=2.0)

    def _end(self) -> None:
        if not self.closed.done():
            self.closed.set_result(self._error)


def allowed_peers(listener: socket.socket) -> set[int]:
    """Return the UIDs that the server may have: root's, the runner's and the socket owner's.

    SocketUser= of the unit makes the server's user the owner, see systemd.socket(5). No name is
    looked up, because a name service that does not answer would keep the server out.
    """
    peers = {0, os.geteuid()}
    with contextlib.suppress(OSError, ValueError):  # a socket without a path has no owner
        peers.add(os.stat(listener.getsockname()).st_uid)
    return peers
