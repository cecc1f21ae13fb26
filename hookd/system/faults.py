# SPDX-License-Identifier: LGPL-2.1-or-later
"""Errors of hookd's own: each is recorded with its place, counted, and ends only one operation.

Both processes use this file for callbacks that serve several operations. An error in code that
serves one operation only (a task, a timer of one run) reaches the exception handler of the event
loop, which is `Faults`. This file does not know what a job, a run or a message is.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from hookd.system.terminal import say

AGAIN_SEC = (0.05, 0.25, 1.0, 5.0)  # before a call that raised is repeated; the last repeats
RECORD_EVERY_SEC = 1.0  # between two records of one place; all of its faults are counted
MAX_PLACES = 100  # for which the time of the last record is remembered
MAX_TRACEBACK = 16 * 1024  # bytes of the traceback in a record

Fields = dict[str, str | int | None]


class Faults:
    """The faults of one process: the exception handler of its event loop.

    `record` writes one record from journal fields and a text, `detail`. `changed` is called when
    `count` has grown.
    """

    def __init__(
        self, record: Callable[..., None], changed: Callable[[], None] = lambda: None
    ) -> None:
        self.count = 0
        self._record = record
        self._changed = changed
        self._recorded: dict[str, float] = {}
        self._unrecorded = 0
        self._handling = False
        asyncio.get_running_loop().set_exception_handler(self._handle)

    def _handle(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle uncaught errors of callbacks and tasks, and the errors given to `report`."""
        self.count += 1
        if self._handling:  # recording a fault has raised an error itself
            return
        self._handling = True
        try:
            self._tell(context)
        finally:
            self._handling = False

    def _tell(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        place = _place(error)
        now = time.monotonic()
        if now - self._recorded.get(place, -RECORD_EVERY_SEC) < RECORD_EVERY_SEC:
            self._unrecorded += 1
        else:
            if len(self._recorded) >= MAX_PLACES:
                self._recorded.clear()
            self._recorded[place] = now
            self._write(str(context.get("message", "")), error, place)
        self._changed()

    def _write(self, doing: str, error: BaseException | None, place: str) -> None:
        unrecorded, self._unrecorded = self._unrecorded, 0
        trace = "".join(traceback.format_exception(error)) if error is not None else ""
        detail = f"{words(error) if error is not None else doing} in {place}"
        if unrecorded:
            detail += f"; {unrecorded} more without a record of their own"
        fields: Fields = {
            "HOOKD_FAULT": repr(error) if error is not None else doing,
            "HOOKD_PLACE": place,
            "HOOKD_OPERATION": doing,
            "HOOKD_TRACEBACK": trace[-MAX_TRACEBACK:],
        }
        try:
            self._record(fields, detail=detail)
        except Exception:  # the journal code itself may be broken
            for line in (detail, *trace.splitlines()):
                say(line, error=True)


def words(error: BaseException) -> str:
    """Return the text of a fault for an answer or a result."""
    return f"an error of hookd's own: {error!r}"


def report(error: BaseException, doing: str) -> None:
    """Record and count an error that was caught. Call this in the event loop."""
    asyncio.get_running_loop().call_exception_handler({"message": doing, "exception": error})


def guarded(
    doing: str,
    act: Callable[[], object],
    otherwise: Callable[[Exception], object] | None = None,
) -> bool:
    """Call `act` so that its error does not affect other operations; return whether it succeeded.

    An error is reported. `otherwise` is then called with it, to end the operation that failed.
    """
    try:
        act()
    except Exception as e:  # of any kind
        report(e, doing)
        if otherwise is not None:
            error = e
            guarded(f"{doing}: after the fault", lambda: otherwise(error))
        return False
    return True


class Timer:
    """A call that the loop makes once, at a given time.

    If the call raises, the error is reported and the call is repeated after a delay, which grows
    each time. The function must therefore keep its work outside the call, and remove each item
    from there when it handles it.
    """

    __slots__ = ("_act", "_failures", "_handle", "_loop", "_when")

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self._when = 0.0
        self._failures = 0

    @property
    def when(self) -> float | None:
        """The time of the call on the loop's clock; None if no call is scheduled."""
        return self._when if self._handle is not None else None

    def soon(self) -> None:
        """Schedule the call for the next iteration of the loop, unless one is scheduled."""
        if self._handle is None:
            self._when = 0.0
            self._handle = self._loop.call_soon(self._run)

    def within(self, seconds: float) -> None:
        """Schedule the call in `seconds` seconds, unless one is scheduled."""
        if self._handle is None:
            self.at(self._loop.time() + seconds)

    def at(self, when: float) -> None:
        """Schedule the call for this time on the loop's clock instead of any earlier setting."""
        self.cancel()
        self._when = when
        self._handle = self._loop.call_at(when, self._run)

    def cancel(self) -> None:
        """Cancel the scheduled call."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run(self) -> None:
        self._handle = None
        if guarded(_name(self._act), self._act):
            self._failures = 0
            return
        pause = AGAIN_SEC[min(self._failures, len(AGAIN_SEC) - 1)]
        self._failures += 1
        self.at(self._loop.time() + pause)


class Connection(asyncio.BufferedProtocol):
    """The callbacks of a transport. An error in one of them always ends the connection.

    For `buffer_updated` and `eof_received`, asyncio itself ends the connection.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Call `made`; if it fails, end the connection at once."""
        assert isinstance(transport, asyncio.Transport)
        guarded("a new connection", lambda: self.made(transport), lambda _: transport.abort())

    def connection_lost(self, exc: Exception | None) -> None:
        """Call `lost`; if it fails, call `lost_all_the_same`."""
        guarded("the end of a connection", self.lost, lambda _: self.lost_all_the_same())

    def made(self, transport: asyncio.Transport) -> None:
        """Take the transport."""
        raise NotImplementedError

    def lost(self) -> None:
        """Release everything that belongs to the connection."""
        raise NotImplementedError

    def lost_all_the_same(self) -> None:
        """Do the indispensable part of `lost`, which has failed."""
        raise NotImplementedError


def keep(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    """Return a task that does this work, and starts it again if it ends with an error."""
    return asyncio.get_running_loop().create_task(_kept(name, work), name=name)


async def _kept(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    failures = 0
    while True:
        try:
            await work()
        except Exception as e:  # of any kind
            report(e, name)
        else:
            return
        await asyncio.sleep(AGAIN_SEC[min(failures, len(AGAIN_SEC) - 1)])
        failures += 1


def _name(act: Callable[[], object]) -> str:
    return getattr(act, "__qualname__", repr(act))


def _place(error: BaseException | None) -> str:
    """Return where an error was raised: file and function of hookd's innermost frame."""
    if error is None or error.__traceback__ is None:
        return "the event loop"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/hookd/" in frame.filename] or list(frames)
    own = [frame for frame in own if not frame.filename.endswith("hookd/system/faults.py")] or own
    at = own[-1]
    return f"{at.filename.rpartition('/hookd/')[2]}:{at.lineno} ({at.name})"
