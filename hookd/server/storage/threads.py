# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls from the threads of the database to the event loop, and the thread that reads.

Nothing here writes to the database; the writer's thread is in `hookd.server.storage.store`.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from hookd.errors import HookdError, InternalError, StorageFailure
from hookd.server.storage.database_file import connect, reason
from hookd.server.storage.schema import WrongDatabase
from hookd.system import faults

T = TypeVar("T")

_Otherwise = Callable[[Exception], None] | None

DISK_FAULTS = (sqlite3.Error, OSError, WrongDatabase, ValueError, msgspec.MsgspecError)
"""Errors that are not faults; a damaged value raises one of the last two."""


class LoopCalls:
    """Calls from the threads to the event loop, in the order in which they were made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[str, Callable[[], None], _Otherwise]] = deque()
        self._soon = faults.Timer(self._call)

    def add(self, what: str, call: Callable[[], None], otherwise: _Otherwise = None) -> None:
        """Have the event loop call `call`; `what` names it if it raises. For the threads.

        `otherwise` is called with the error if it does.
        """
        self._waiting.append((what, call, otherwise))
        self._loop.call_soon_threadsafe(self._soon.soon)

    def _call(self) -> None:
        while self._waiting:
            what, call, otherwise = self._waiting.popleft()
            faults.guarded(what, call, otherwise)


class Reader:
    """The thread that reads the database; it makes one query at a time."""

    def __init__(self, path: Path, loop_calls: LoopCalls) -> None:
        self._path = path
        self._loop_calls = loop_calls
        self._loop = asyncio.get_running_loop()
        self._queries: queue.SimpleQueue[_Query[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hookd-reader")
        self._thread.start()

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return the value of `query`. Raises what it raised, or StorageFailure."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._queries.put(_Query(query, future))
        return await future

    def join(self) -> None:
        """Wait until the thread has ended and its connection is closed."""
        self._queries.put(None)
        self._thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while (query := self._queries.get()) is not None:
            outcome: Any
            try:
                if connection is None:
                    connection = connect(self._path, read_only=True)
                outcome = query.find(connection)
            except HookdError as e:
                outcome = e
            except Exception as e:  # of any kind: the thread goes on
                outcome = StorageFailure(reason(e, self._path))
                if not isinstance(e, DISK_FAULTS):
                    outcome = InternalError(faults.words(e))
                    self._loop_calls.add("a query", partial(faults.report, e, "a query"))
                if connection is not None:
                    connection.close()
                connection = None
            call = partial(complete, query.future, outcome)
            self._loop_calls.add("the answer to a query", call)
        if connection is not None:
            connection.close()


class _Query(Generic[T]):
    """One query, and the future of its answer."""

    __slots__ = ("find", "future")

    def __init__(self, find: Callable[[sqlite3.Connection], T], future: asyncio.Future[T]) -> None:
        self.find = find
        self.future = future


def complete(future: asyncio.Future[T], outcome: T | HookdError) -> None:
    """Set the value or the error of a future, unless it is done, for instance cancelled."""
    if future.done():
        return
    if isinstance(outcome, HookdError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
