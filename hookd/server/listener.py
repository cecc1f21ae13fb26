# SPDX-License-Identifier: LGPL-2.1-or-later
"""The socket: connections in, calls out, answers back; and what bounds each of them.

One call at a time a connection. Everything a peer can make grow has a limit here: its bytes, its
unread answers, its patience with half a message, its number. What calls mean is not known here.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from hookd.errors import HookdError, ProtocolError
from hookd.server.admission import Peer
from hookd.server.protocol import Call, CallReader, decode_call, encode_error, encode_reply
from hookd.sockets import BACKLOG, credentials

T = TypeVar("T")

MAX_CONNECTIONS = 1024  # in all: some hundred kB of buffers, and descriptors stay to spare
MAX_CONNECTIONS_PER_USER = 768  # one user never takes the last quarter
READ_AHEAD = 64 * 1024  # bytes of pipelined calls that are taken in while one is at work
WRITE_BUFFER = 256 * 1024  # bytes of answers that wait for a slow reader before we wait for it
UNFINISHED_SEC = 30.0  # for a message from its first byte to its NUL
FIRST_CALL_SEC = 1.0  # when hookd stops: for a connection it has accepted to say what it wants
STALLED_SEC = 30.0  # for a reader of answers to take something


class HungUp(Exception):
    """The peer closed the connection while its call was waiting."""


Handler = Callable[["Session", Call], Awaitable[Any]]
"""Answers a call: returns the reply's parameters or raises a HookdError."""

Report = Callable[[Peer, str], None]
"""Told when a peer is cut off, and why."""


class Session(asyncio.Protocol):
    """One connection, as handlers know it: who is there, and a way to answer more than once."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._reader = CallReader()
        self._wakeup: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._stalled: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._eof = False
        self._last = False
        self._served = False
        self.admitted = False
        self.hangup_fd: int | None = None
        self.peer: Peer
        self.busy = False
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.ties: set[int] = set()

    # What handlers use.

    def progress(self, parameters: Any) -> None:
        """Send a reply that is not the last one to a call with `more`."""
        self._send(encode_reply(parameters, continues=True))

    async def drained(self) -> None:
        """Wait until the peer has taken enough of what was sent. Raises HungUp."""
        await self.patiently(self._writable.wait())

    async def patiently(self, awaitable: Awaitable[T]) -> T:
        """Wait as long as it takes, but not for a peer that is gone. Raises HungUp."""
        waiting = asyncio.ensure_future(awaitable)
        either: set[asyncio.Future[Any]] = {waiting, self.closed}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            raise HungUp
        return waiting.result()

    # The transport's events.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find out who is there and begin to serve."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.peer = Peer(*credentials(transport.get_extra_info("socket")))
        if not self._listener.admit(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes; stop taking them when enough wait already."""
        self._reader.feed(data)
        if self.busy and self._reader.held > READ_AHEAD:
            self._transport.pause_reading()
            self._listener.watch_hangup(self)
        self._wake()

    def eof_received(self) -> bool:
        """Note that no more calls come; answers still go out (`printf | socat` does this)."""
        self._eof = True
        self._listener.watch_hangup(self)
        self._wake()
        return True

    def pause_writing(self) -> None:
        """Wait for a slow reader, but not for ever."""
        self._writable.clear()
        self._stalled = self._loop.call_later(
            STALLED_SEC, self.cut, "it does not read its answers"
        )

    def resume_writing(self) -> None:
        """Go on: the reader has caught up."""
        if self._stalled is not None:
            self._stalled.cancel()
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything that belongs to the connection."""
        self._eof = True
        if self._stalled is not None:
            self._stalled.cancel()
        self._writable.set()
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake()
        self._listener.lost(self)

    # The calls, one after the other.

    async def serve(self, handler: Handler) -> None:
        """Answer calls until no more come. What had arrived before a hang-up is still done."""
        try:
            while (message := await self._next()) is not None:
                self.busy = True
                await self._answer(message, handler)
                await self._writable.wait()
                self.busy = False
                self._served = True
                if self._last:
                    break
        except ProtocolError as e:
            self.cut(str(e))
        finally:
            self._transport.close()

    def finish(self) -> None:
        """Close after the answer to the present call; at once when there is none.

        A connection that has asked nothing yet was taken off the socket's queue, where it would
        have waited for the next instance: it gets an answer, if it asks soon.
        """
        self._last = True
        if not self.busy:
            if self._served:
                self._transport.close()
            else:
                self._loop.call_later(FIRST_CALL_SEC, self._close_silent)

    def _close_silent(self) -> None:
        if not self.busy:
            self._transport.close()

    async def _answer(self, message: bytes, handler: Handler) -> None:
        call = decode_call(message)
        try:
            answer = encode_reply(await handler(self, call))
        except ProtocolError:
            raise
        except HookdError as e:
            answer = encode_error(e)
        except HungUp:
            return
        if not call.oneway:
            self._send(answer)

    async def _next(self) -> bytes | None:
        """Return the next message, None when no more come; half a message must end in time."""
        deadline: asyncio.TimerHandle | None = None
        try:
            while (message := self._reader.next()) is None and not self._eof:
                if deadline is None and self._reader.unfinished:
                    deadline = self._loop.call_later(
                        UNFINISHED_SEC, self.cut, f"half a message for {UNFINISHED_SEC:.0f} s"
                    )
                self._resume_reading()
                self._wakeup = self._loop.create_future()
                await self._wakeup
            return message
        finally:
            if deadline is not None:
                deadline.cancel()

    def _resume_reading(self) -> None:
        if not self._transport.is_reading() and not self._transport.is_closing():
            self._listener.unwatch_hangup(self)
            self._transport.resume_reading()

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def cut(self, reason: str) -> None:
        """Close at once, for a reason that is told to the journal."""
        if not self._transport.is_closing():
            self._listener.report(self.peer, reason)
            self._transport.abort()

    def abort(self) -> None:
        """Close at once, without a word."""
        self._transport.abort()

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost but a file descriptor if it were closed."""
        return not self.busy and not self.ties and not self._reader.unfinished

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return int(self._transport.get_extra_info("socket").fileno())


class Listener:
    """All connections of one listening socket, and who watches them hang up."""

    def __init__(
        self, handler: Handler, report: Report, on_lost: Callable[[Session], None]
    ) -> None:
        self.report = report
        self._handler = handler
        self._on_lost = on_lost
        self._sessions: dict[Session, asyncio.Task[None]] = {}
        self._users: Counter[int] = Counter()
        self._hangups = select.epoll()
        self._watched: dict[int, Session] = {}
        self._server: asyncio.Server | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    async def start(self, sock: socket.socket) -> None:
        """Begin to accept on a socket that is bound, and may listen already (systemd's)."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._hangups.fileno(), self._hung_up)
        # From Python 3.13 on, closing would remove the path, which may be systemd's.
        keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        self._server = await loop.create_unix_server(
            lambda: Session(self), sock=sock, backlog=BACKLOG, **keep
        )

    def stop_accepting(self) -> None:
        """Take no more connections: they wait in the kernel for the next instance."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self, patience: float) -> None:
        """Close every connection; those that are being answered get `patience` seconds for it."""
        self.stop_accepting()
        tasks = set(self._sessions.values())
        for session in list(self._sessions):
            session.finish()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(self._hangups.fileno())
        self._hangups.close()

    def admit(self, session: Session) -> bool:
        """Take in a connection, making room by closing one that idles. Returns False if full."""
        uid = session.peer.uid
        if len(self._sessions) >= MAX_CONNECTIONS and not self._evict(None):
            self.report(session.peer, f"{MAX_CONNECTIONS} connections are open")
            return False
        if self._users[uid] >= MAX_CONNECTIONS_PER_USER and not self._evict(uid):
            self.report(session.peer, f"the user has {MAX_CONNECTIONS_PER_USER} connections open")
            return False
        self._users[uid] += 1
        session.admitted = True
        task = asyncio.get_running_loop().create_task(session.serve(self._handler))
        self._sessions[session] = task
        task.add_done_callback(lambda done: self._served(session, done))
        return True

    def _served(self, session: Session, task: asyncio.Task[None]) -> None:
        self._sessions.pop(session, None)
        if not task.cancelled() and task.exception() is not None:
            self.report(session.peer, f"an error of hookd's own: {task.exception()!r}")

    def _evict(self, uid: int | None) -> bool:
        """Close the connection that has idled from the earliest on, of one user or of all."""
        for session in self._sessions:
            if session.idle and uid in (None, session.peer.uid):
                session.abort()
                del self._sessions[session]
                return True
        return False

    def lost(self, session: Session) -> None:
        """Note that a connection has ended."""
        self.unwatch_hangup(session)
        if session.admitted:
            session.admitted = False
            self._users[session.peer.uid] -= 1
            self._on_lost(session)

    def watch_hangup(self, session: Session) -> None:
        """Hear of a hang-up though nothing is read: asyncio alone would not notice it.

        An empty event mask still reports EPOLLHUP (epoll_ctl(2)): both directions are closed.
        """
        if session.hangup_fd is None and (fd := session.fileno()) >= 0:
            session.hangup_fd = fd
            self._watched[fd] = session
            self._hangups.register(fd, 0)

    def unwatch_hangup(self, session: Session) -> None:
        """Stop watching: reading notices by itself again, or there is nothing left to notice."""
        fd, session.hangup_fd = session.hangup_fd, None
        if fd is not None:
            del self._watched[fd]
            self._hangups.unregister(fd)

    def _hung_up(self) -> None:
        for fd, _ in self._hangups.poll(0):
            session = self._watched[fd]
            self.unwatch_hangup(session)
            session.abort()
