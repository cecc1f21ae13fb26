# SPDX-License-Identifier: LGPL-2.1-or-later
"""Errors of hookd's own: each is recorded with its place, counted, and ends one operation alone.

Both processes dispatch here what serves several operations in one callback. What belongs to one
alone (a task, a timer of one run) the event loop itself guards: an error goes to its exception
handler, which `Faults` is. Nothing here knows what a job, a run or a message is.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from hookd.system.terminal import say

AGAIN_SEC = (0.05, 0.25, 1.0, 5.0)  # before a call that raised is made again; the last for good
RECORD_EVERY_SEC = 1.0  # between two records of one place: the count has them all
MAX_PLACES = 100  # whose last record is remembered
MAX_TRACEBACK = 16 * 1024  # bytes of a record

Fields = dict[str, str | int | None]


class Faults:
    """The faults of one process, as its event loop meets them.

    `record` writes one record, of journal fields and, as `detail`, words; `changed` is told that
    `count` is higher.
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
        """Take what no callback or task has caught, and what `report` was told."""
        self.count += 1
        if self._handling:  # the record of a fault has met one itself
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
        except Exception:  # the way to the journal may be what is broken
            for line in (detail, *trace.splitlines()):
                say(line, error=True)


def words(error: BaseException) -> str:
    """Return an error of hookd's own as an answer or a result says it."""
    return f"an error of hookd's own: {error!r}"


def report(error: BaseException, doing: str) -> None:
    """Have an error that is dealt with recorded and counted. To be called in the event loop."""
    asyncio.get_running_loop().call_exception_handler({"message": doing, "exception": error})


def guarded(
    doing: str,
    act: Callable[[], object],
    otherwise: Callable[[Exception], object] | None = None,
) -> bool:
    """Do something that others must not suffer from; return whether it went well.

    An error is reported; then `otherwise` ends, with it, the operation that it befell.
    """
    try:
        act()
    except Exception as e:  # whatever it is
        report(e, doing)
        if otherwise is not None:
            error = e
            guarded(f"{doing}: after the fault", lambda: otherwise(error))
        return False
    return True


class Timer:
    """A call that the loop makes once, at the moment that was set.

    One that raises is reported and made again after a while, longer each time: so it must find
    what it has to do where that lies, and take it from there piece by piece.
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
        """The moment of the call on the loop's clock, None where none is to be made."""
        return self._when if self._handle is not None else None

    def soon(self) -> None:
        """Make the call in the next turn of the loop, unless one is to be made already."""
        if self._handle is None:
            self._when = 0.0
            self._handle = self._loop.call_soon(self._run)

    def within(self, seconds: float) -> None:
        """Make the call after so many seconds, unless one is to be made already."""
        if self._handle is None:
            self.at(self._loop.time() + seconds)

    def at(self, when: float) -> None:
        """Make the call at this moment of the loop's clock, and not when it was set before."""
        self.cancel()
        self._when = when
        self._handle = self._loop.call_at(when, self._run)

    def cancel(self) -> None:
        """Make no call."""
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
    """What a transport calls back. An error ends this connection, and it does end.

    That of `buffer_updated` and `eof_received` ends it by asyncio's own doing.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; where that fails, the connection ends at once."""
        assert isinstance(transport, asyncio.Transport)
        guarded("a new connection", lambda: self.made(transport), lambda _: transport.abort())

    def connection_lost(self, exc: Exception | None) -> None:
        """End, in the bare way where the proper one fails."""
        guarded("the end of a connection", self.lost, lambda _: self.lost_all_the_same())

    def made(self, transport: asyncio.Transport) -> None:
        """Take the transport."""
        raise NotImplementedError

    def lost(self) -> None:
        """Let go of all that belongs to the connection."""
        raise NotImplementedError

    def lost_all_the_same(self) -> None:
        """Do what must be done of `lost`, which has failed."""
        raise NotImplementedError


def keep(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    """Return a task that does this work, and begins it anew where it ends with an error."""
    return asyncio.get_running_loop().create_task(_kept(name, work), name=name)


async def _kept(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    failures = 0
    while True:
        try:
            await work()
        except Exception as e:  # whatever it is
            report(e, name)
        else:
            return
        await asyncio.sleep(AGAIN_SEC[min(failures, len(AGAIN_SEC) - 1)])
        failures += 1


def _name(act: Callable[[], object]) -> str:
    return getattr(act, "__qualname__", repr(act))


def _place(error: BaseException | None) -> str:
    """Return where an error was raised: the innermost line of hookd's own, file and function."""
    if error is None or error.__traceback__ is None:
        return "the event loop"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/hookd/" in frame.filename] or list(frames)
    own = [frame for frame in own if not frame.filename.endswith("hookd/system/faults.py")] or own
    at = own[-1]
    return f"{at.filename.rpartition('/hookd/')[2]}:{at.lineno} ({at.name})"
