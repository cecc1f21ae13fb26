# SPDX-License-Identifier: LGPL-2.1-or-later
"""One connection: reads bytes, answers calls one after the other, and limits what a peer can use.

Everything that a peer can make grow has a limit here: its bytes, its unread answers, the time for
a message. This file does not know what calls mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from hookd.errors import HookdError, InternalError, PermissionDenied, ProtocolError
from hookd.server.transport.eviction import Evictor
from hookd.server.transport.fair_queue import FairQueue
from hookd.server.transport.hangups import Hangups
from hookd.server.transport.peer import Peer
from hookd.server.transport.varlink import (
    Call,
    CallReader,
    decode_call,
    encode_error,
    encode_reply,
)
from hookd.system import faults

T = TypeVar("T")

READ_AT_ONCE = 16 * 1024  # bytes read before other connections are; asyncio's default is 256 KiB
READ_AHEAD = 64 * 1024  # bytes of pipelined calls that are read while a call is answered
WRITE_BUFFER = 256 * 1024  # bytes of unread answers above which the next call waits
UNFINISHED_SEC = 30.0  # for a message, from its first byte to its NUL
FIRST_CALL_SEC = 1.0  # when hookd stops: for the first call of an accepted connection
STALLED_SEC = 30.0  # for a reader to accept more of its answers
LARGE = 16 * 1024  # bytes of a large call; one at a time, as each takes up to 10 ms and 3 MB


class HungUp(Exception):
    """The peer closed the connection while its call was waiting."""


Handler = Callable[["Connection", Call], Awaitable[Any]]  # returns a reply or raises a HookdError
MayCall = Callable[[Peer], bool]  # whether a peer may call any method
Report = Callable[[Peer, str], None]  # called with the reason when a peer is disconnected


class Shared:
    """What all connections of a socket share: limits, fair queue, read buffer."""

    def __init__(self, report: Report, on_lost: Callable[[Connection], None]) -> None:
        self.report = report
        self.on_lost = on_lost
        self.hangups = Hangups()
        self.evictor = Evictor()
        self.fair_queue = FairQueue()
        self.large = asyncio.Lock()
        self.buffer = bytearray(READ_AT_ONCE)


class Connection(faults.Connection):
    """One connection. Handlers can see the peer, and can answer a call more than once."""

    def __init__(self, shared: Shared, peer: Peer) -> None:
        self.peer = peer
        self.uid = peer.uid
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._reader = CallReader()
        self._wakeup: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._stalled: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self.begun = False  # whether `made` has set the transport
        self._eof = False
        self._last = False
        self._served = False
        self._large = False  # whether it holds the lock of large calls
        self._waiting_task: asyncio.Task[Any] | None = None  # in while_connected()
        self._peer_gone = False  # whether the peer has hung up
        self._at_work = 0  # bytes of the call that is being answered
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.ties: set[int] = set()

    # For handlers.

    def progress(self, parameters: Any) -> None:
        """Send a reply that is not the last one to a call with `more`."""
        self._send(encode_reply(parameters, continues=True))

    async def drained(self) -> None:
        """Wait until the peer has read enough of the answers. Raises HungUp."""
        await self.while_connected(self._writable.wait())

    async def while_connected(self, awaitable: Awaitable[T]) -> T:
        """Wait without a time limit, until the peer hangs up. Raises HungUp.

        A hang-up cancels the task, and the cancellation is converted to HungUp here, as in
        asyncio.timeout(). A wait therefore needs no task of its own.
        """
        self._let_others()
        self._waiting_task = task = asyncio.current_task()
        assert task is not None
        if self.closed.done():
            self._loop.call_soon(self._cancel_wait)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._peer_gone and task.uncancel() == 0:
                raise HungUp from None
            raise
        finally:
            self._waiting_task = None

    def _cancel_wait(self) -> None:
        if self._waiting_task is not None:
            self._peer_gone = True
            self._waiting_task.cancel()

    # Callbacks of the transport.

    def made(self, transport: asyncio.Transport) -> None:
        """Begin to serve."""
        self._transport = transport
        self.begun = True
        transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return the buffer for the next read; `buffer_updated` follows at once."""
        return self._shared.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Accept bytes; pause reading if more than READ_AHEAD wait while a call is answered."""
        self._reader.feed(self._shared.buffer[:nbytes])
        if self.busy and self._reader.held > READ_AHEAD:
            self._transport.pause_reading()
            self._watch_hangup()
        self._wake()
        self._shared.evictor.took(nbytes)

    def eof_received(self) -> bool:
        """Note that no more calls come; answers are still sent (`printf | socat` needs this)."""
        self._eof = True
        self._watch_hangup()
        self._wake()
        return True

    def pause_writing(self) -> None:
        """Wait for a slow reader, for STALLED_SEC at most."""
        self._writable.clear()
        self._stalled = self._loop.call_later(
            STALLED_SEC, self.cut, "it does not read its answers"
        )

    def resume_writing(self) -> None:
        """Continue, because the reader has caught up."""
        if self._stalled is not None:
            self._stalled.cancel()
        self._writable.set()

    def lost(self) -> None:
        """Release everything that belongs to the connection."""
        if self._stalled is not None:
            self._stalled.cancel()
        self._shared.hangups.unwatch(_fileno(self._transport))
        self.lost_all_the_same()

    def lost_all_the_same(self) -> None:
        """End the task, and report that the jobs tied to the connection are lost."""
        self._eof = True
        self._writable.set()
        if not self.closed.done():
            self.closed.set_result(None)
        self._cancel_wait()
        self._wake()
        self._shared.on_lost(self)

    # Calls, one after the other.

    async def serve(self, handler: Handler, knows: MayCall) -> None:
        """Answer calls until no more come. Calls that arrived before a hang-up are still executed.

        A peer that may not call any method gets PermissionDenied; its bytes are not decoded.
        """
        evictor = self._shared.evictor
        evictor.rest(self)
        try:
            while (message := await self._next()) is not None:
                if not knows(self.peer):
                    self._send(encode_error(PermissionDenied()))
                    break
                evictor.work(self)
                self._at_work = len(message)
                await self._shared.fair_queue.take(self.uid)
                await self._answer(message, handler)
                message = b""  # free up to a megabyte while waiting for the next call
                await self._writable.wait()
                self._at_work = 0
                self._served = True
                if self._last:
                    break
                if not self.ties:
                    evictor.rest(self)
        except ProtocolError as e:
            if knows(self.peer):
                self.cut(str(e))
            else:
                self._send(encode_error(PermissionDenied()))
        finally:
            self._transport.close()

    def finish(self) -> None:
        """Close after the answer to the current call, or at once if there is none.

        A connection without a call so far was accepted from the queue of the socket, where it
        would have waited for the next instance. It is answered if it calls within FIRST_CALL_SEC.
        """
        again, self._last = self._last, True
        if not self.busy:
            if self._served or again:
                self._transport.close()
            else:
                self._loop.call_later(FIRST_CALL_SEC, self.finish)

    def _let_others(self) -> None:
        if self._large:
            self._large = False
            self._shared.large.release()

    async def _answer(self, message: bytes, handler: Handler) -> None:
        call: Call | None = None
        try:
            if len(message) > LARGE:
                self._large = await self.while_connected(self._shared.large.acquire())
            call = decode_call(message)
            answer = encode_reply(await handler(self, call))
        except HungUp:
            return
        except ProtocolError:
            raise
        except HookdError as e:
            answer = encode_error(e)
        except Exception as e:  # of any kind: it concerns only this call
            faults.report(e, "a call" if call is None else call.method)
            answer = encode_error(InternalError(faults.words(e)))
        finally:
            self._let_others()
        if call is None or not call.oneway:
            self._send(answer)

    async def _next(self) -> bytes | None:
        """Return the next message; None if no more come. A message must be complete in time."""
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
            self._shared.hangups.unwatch(_fileno(self._transport))
            self._transport.resume_reading()

    def _watch_hangup(self) -> None:
        if not self._transport.is_closing():
            self._shared.hangups.watch(_fileno(self._transport), self._transport.abort)

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)
            self._shared.evictor.took(len(data))

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def cut(self, reason: str) -> None:
        """Close at once; the reason is recorded in the journal."""
        if not self._transport.is_closing():
            self._shared.report(self.peer, reason)
            self._transport.abort()

    @property
    def busy(self) -> bool:
        """Whether a call is being answered."""
        return self._at_work > 0

    @property
    def held(self) -> int:
        """The number of bytes that are held for the connection."""
        if not self.begun:
            return 0
        return self._reader.held + self._at_work + self._transport.get_write_buffer_size()


def _fileno(transport: asyncio.Transport) -> int:
    return int(transport.get_extra_info("socket").fileno())
