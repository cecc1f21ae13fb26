# SPDX-License-Identifier: LGPL-2.1-or-later
"""The listening socket: accepts connections up to a limit, and closes them at the end.

This file limits all connections together, `hookd.server.transport.connection` each of them.
At the limit, a connection of the user that has the most is closed.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Callable
from functools import partial

from hookd.server.transport.connection import Connection, Handler, MayCall, Report, Shared
from hookd.server.transport.peer import Peer
from hookd.system import faults
from hookd.system.sockets import BACKLOG, credentials

ACCEPT_AT_ONCE = 8  # connections (some ms of work) before open connections are served
ACCEPT_AGAIN_SEC = 0.05  # after the system had no descriptor for a connection


class Listener:
    """All connections of one listening socket."""

    def __init__(
        self,
        handler: Handler,
        knows: MayCall,
        report: Report,
        on_lost: Callable[[Connection], None],
    ) -> None:
        self._shared = Shared(report, on_lost)
        self._handler = handler
        self._knows = knows
        self._loop = asyncio.get_running_loop()
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._socket: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def start(self, sock: socket.socket) -> None:
        """Begin to accept on a bound socket, which may already listen (systemd's)."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._shared.evictor.fit(soft)
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._socket = sock
        self._loop.add_reader(sock, self._accept, sock)

    def stop_accepting(self) -> None:
        """Accept no more connections; they wait in the kernel for the next instance."""
        if self._again is not None:
            self._again.cancel()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    async def close(self, patience: float) -> None:
        """Close every connection; those with a call under way get `patience` seconds to finish."""
        self.stop_accepting()
        tasks = set(self._connections.values())
        for connection in list(self._connections):
            connection.finish()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._shared.hangups.close()

    # Accepting. asyncio itself would accept the whole backlog before any connection is served, and
    # would stop for a second without a descriptor.

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                sock, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as e:  # EMFILE, ENFILE, ENOBUFS, ENOMEM: accept(2)
                self._rest(listening)
                if e.errno == errno.EMFILE:
                    self._shared.evictor.make(None, "no descriptor is left for another connection")
                return
            faults.guarded("a connection", partial(self._admit, sock), partial(_refuse, sock))

    def _rest(self, listening: socket.socket) -> None:
        """Accept nothing for ACCEPT_AGAIN_SEC, until a descriptor may be free again."""
        self._loop.remove_reader(listening)
        self._again = self._loop.call_later(
            ACCEPT_AGAIN_SEC, self._loop.add_reader, listening, self._accept, listening
        )

    def _admit(self, sock: socket.socket) -> None:
        """Accept a connection if the limits allow it."""
        peer = Peer(*credentials(sock))
        if refusal := self._shared.evictor.refusal(peer.uid):
            sock.close()
            self._shared.report(peer, refusal)
            return
        connection = Connection(self._shared, peer)
        self._shared.evictor.enter(connection)
        task = self._loop.create_task(self._serve(connection, sock))
        self._connections[connection] = task
        task.add_done_callback(partial(self._gone, connection, sock))

    async def _serve(self, connection: Connection, sock: socket.socket) -> None:
        """Serve a connection until it ends; a fault ends it too."""
        try:
            sock.setblocking(False)
            await self._loop.connect_accepted_socket(lambda: connection, sock)
            await connection.serve(self._handler, self._knows)
        except Exception as e:  # of any kind
            faults.report(e, "a connection")
            self._shared.report(connection.peer, faults.words(e))

    def _gone(self, connection: Connection, sock: socket.socket, _: asyncio.Task[None]) -> None:
        """Release a connection whose task has ended, even if the task never ran."""
        del self._connections[connection]
        self._shared.evictor.leave(connection)
        if not connection.begun:
            sock.close()


def _refuse(sock: socket.socket, _: Exception) -> None:
    sock.close()
