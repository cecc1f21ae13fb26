# SPDX-License-Identifier: LGPL-2.1-or-later
"""Access to the database: a thread that writes with group commit, and a thread that reads.

The event loop never waits for a disk. Operations submitted while a commit is under way share the
next commit. The loop waits while the statements of a batch run, which takes microseconds: two
threads that compete for the interpreter lock at every statement cost more than the statements. It
waits for `STAND_BACK_SEC` at most, because a statement may read from a disk that hangs.

A disk error fails the request, with the reason. The next request tries again, so hookd recovers
when the disk does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from hookd.errors import HookdError, InternalError, StorageFailure
from hookd.server.storage.database import Database
from hookd.server.storage.database_file import (
    CREATED,
    CREATED_TEXT,
    DATABASE,
    check_directory,
    check_file,
    connect,
    identity,
    lock,
    make_durable,
    reason,
    try_out,
)
from hookd.server.storage.marks import Marks
from hookd.server.storage.schema import WrongDatabase, examine, migrate
from hookd.server.storage.threads import DISK_FAULTS, LoopCalls, Reader, complete
from hookd.system import faults

T = TypeVar("T")

MAX_BATCH = 512  # operations that share a commit; limits the wait of the first one
STAND_BACK_SEC = 0.01  # wait for the statements of a batch before the loop continues

_SHARED_FAULTS = (sqlite3.OperationalError, OSError, WrongDatabase)
"""Errors that concern every operation of a batch: of the disk, the directory, the wrong file."""


class _Operation(Generic[T]):
    """One operation in a transaction, and its callbacks."""

    __slots__ = ("act", "done", "failed", "outcome")

    def __init__(
        self,
        act: Callable[[Database], T],
        done: Callable[[T | HookdError], None],
        failed: Callable[[Exception], None] | None,
    ) -> None:
        self.act = act
        self.done = done
        self.failed = failed
        self.outcome: Any = None  # T or HookdError, once it is known


class _Batch:
    """Operations that share a commit. `begun` is released when their statements have run."""

    __slots__ = ("begun", "operations")

    def __init__(self, operations: list[_Operation[Any]]) -> None:
        self.operations = operations
        self.begun = threading.Lock()
        self.begun.acquire()


class Store:
    """Owns the state directory: its lock, the database, the two threads.

    `created`: whether the store has created a new database. `marks`: the ID marks and the losses.
    `on_health` is called in the event loop with the reason when the database begins to fail or
    the reason changes, and with None when `try_out` finds that it works again. `opened` is called
    in the writer's thread whenever the database has been opened, before any other use, to read
    the state that the daemon needs; its return value is called in the event loop before any
    outcome is delivered. `missed` is called in the event loop when an outcome could not be
    delivered, so that the memory may lack what is on disk.
    """

    def __init__(
        self,
        directory: Path,
        boot_id: str,
        per_boot_ids: bool,
        on_health: Callable[[str | None], None],
        opened: Callable[[Database], Callable[[], None]] = lambda _: lambda: None,
        missed: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = directory / DATABASE
        self._boot_id = boot_id
        self.per_boot_ids = per_boot_ids
        self._on_health = on_health
        self._opened = opened
        self.missed = missed
        self._loop = asyncio.get_running_loop()
        self._lock = lock(directory)
        self._database: Database | None = None
        self.marks = Marks(self.path, boot_id)
        self.created = False
        self._identity: tuple[int, int] | None = None
        self._fault: str | None = None
        self._waiting: deque[_Operation[Any]] = deque()
        self._committing = False
        self._begin_soon = faults.Timer(self._begin)
        self._loop_calls = LoopCalls()
        self._batches: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="hookd-writer")
        self._writer.start()
        self._reader = Reader(self.path, self._loop_calls)

    def submit(
        self,
        act: Callable[[Database], T],
        done: Callable[[T | HookdError], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Call `act` in the next transaction; call `done` once the transaction is on disk.

        `done` is always called, in the event loop, with the value of `act`, with the HookdError
        that it raised, or with StorageFailure. If `done` raises an error, `failed` is called with
        it to end the operation.
        """
        self._waiting.append(_Operation(act, done, failed))
        self._arm()

    async def write(self, act: Callable[[Database], T]) -> T:
        """Call `act` in the next transaction; return its value once the transaction is on disk.

        Raises what `act` raised, or StorageFailure. Cancelling the caller does not undo the write.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self.submit(
            act,
            lambda outcome: complete(future, outcome),
            lambda error: complete(future, InternalError(faults.words(error))),
        )
        return await future

    async def try_out(self) -> None:
        """Test whether an event of full size can be written; `on_health` is called on a change.

        A successful small write does not prove this, so it never ends the state of failure.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        self._batches.put(future)
        await future

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return the value of `query`. Raises what it raised, or StorageFailure."""
        return await self._reader.read(query)

    async def close(self) -> None:
        """Finish the submitted operations, close the database and release the directory."""
        while self._waiting or self._committing:
            with contextlib.suppress(StorageFailure):  # the callers have been answered
                await self.write(lambda _: None)
        await asyncio.to_thread(self._join)
        os.close(self._lock)

    def _join(self) -> None:
        self._reader.join()  # first: the last connection to close checkpoints the log
        self._batches.put(None)
        self._writer.join()

    def _arm(self) -> None:
        """Begin a batch after this iteration of the loop, with all operations submitted in it."""
        if self._waiting and not self._committing:
            self._begin_soon.soon()

    def _begin(self) -> None:
        """Give the writer the next batch, and wait while its statements run."""
        if self._committing or not self._waiting:
            return
        self._committing = True
        size = min(len(self._waiting), MAX_BATCH)
        batch = _Batch([self._waiting.popleft() for _ in range(size)])
        self._batches.put(batch)
        batch.begun.acquire(timeout=STAND_BACK_SEC)

    def _deliver(self, batch: _Batch) -> None:
        """Deliver the outcomes of a batch; operations that these submit are in the next one."""
        self._committing = False
        for operation in batch.operations:
            faults.guarded(
                "an outcome on disk", partial(operation.done, operation.outcome),
                partial(self._undelivered, operation),
            )  # fmt: skip
        self._arm()

    def _undeliverable(self, batch: _Batch, error: Exception) -> None:
        """End all operations of a batch that was not delivered, and go on with the next one."""
        self._committing = False
        for operation in batch.operations:
            faults.guarded("a batch", partial(self._undelivered, operation, error))
        self._arm()

    def _undelivered(self, operation: _Operation[Any], error: Exception) -> None:
        """End the operation whose outcome could not be delivered; its changes stay on disk."""
        try:
            if operation.failed is not None:
                operation.failed(error)
        finally:
            self.missed()

    # The writer's thread.

    def _write(self) -> None:
        while (batch := self._batches.get()) is not None:
            if isinstance(batch, asyncio.Future):
                self._try_out()
                self._loop_calls.add("a trial", partial(complete, batch, None))
                continue
            try:
                self._commit(batch.operations, batch.begun.release)
            except Exception as e:  # of any kind: the thread goes on and the callers are answered
                self._loop_calls.add("the writer", partial(faults.report, e, "a commit"))
                for operation in batch.operations:
                    operation.outcome = InternalError(faults.words(e))
            self._loop_calls.add(
                "a batch", partial(self._deliver, batch), partial(self._undeliverable, batch)
            )
        self.marks.close(clean=self._database is not None)
        self._close()

    def _commit(self, operations: list[_Operation[Any]], begun: Callable[[], None]) -> None:
        """Do the operations in one transaction; a disk error fails all of them.

        `begun` is called when only the COMMIT is left.
        """
        try:
            try:
                db = self._transaction(operations)
            finally:
                begun()
            db.connection.execute("COMMIT")
            self.marks.given(db.connection)
        except Exception as e:  # of any kind: the callers must be answered
            self._close()
            if not isinstance(e, _SHARED_FAULTS) and len(operations) > 1:
                # The error of one operation must not fail the others. Each is tried alone,
                # because the rollback has undone all of them.
                for operation in operations:
                    self._commit([operation], lambda: None)
                return
            if isinstance(e, DISK_FAULTS):
                fault: HookdError = StorageFailure(reason(e, self.path))
                self._health(str(fault))
            else:
                fault = InternalError(faults.words(e))
                self._loop_calls.add("a transaction", partial(faults.report, e, "a transaction"))
            for operation in operations:
                operation.outcome = fault

    def _try_out(self) -> None:
        """Test whether an event of full size can be written, and report it."""
        try:
            try_out(self._open().connection, self.path)
        except Exception as e:  # of any kind, as in a transaction
            self._close()
            if isinstance(e, DISK_FAULTS):
                self._health(reason(e, self.path))
            else:
                self._loop_calls.add("a trial", partial(faults.report, e, "a trial of the disk"))
        else:
            self._health(None)

    def _transaction(self, operations: list[_Operation[Any]]) -> Database:
        """Run the statements of these operations; return the database for the COMMIT."""
        db = self._open()
        db.per_boot_ids = self.per_boot_ids
        db.connection.execute("BEGIN IMMEDIATE")
        self.marks.skip(db.connection)
        for operation in operations:
            try:
                operation.outcome = operation.act(db)
            except HookdError as e:
                operation.outcome = e
        self.marks.reserve(db.connection)
        return db

    def _health(self, fault: str | None) -> None:
        if fault != self._fault:
            self._fault = fault
            self._loop_calls.add("storage's health", partial(self._on_health, fault))

    def _open(self) -> Database:
        """Return the database; reopen it after an error. It must be the same file."""
        if self._database is not None:
            if identity(self.path) != self._identity:
                raise WrongDatabase(
                    "the database was removed or replaced while hookd was using it"
                )
            return self._database
        check_directory(self.path)
        check_file(self.path, self._identity)
        marker = self.path.parent / CREATED
        connection = connect(self.path)
        try:
            examine(connection, may_be_empty=not marker.exists())
            make_durable(connection)
            new = migrate(connection)
            self.created |= new
            self.marks.meet(connection, new)
            db = Database(connection, self._boot_id, self.per_boot_ids)
            db.load()
            if not marker.exists():
                marker.write_text(CREATED_TEXT)
            self._loop_calls.add("the database is open", self._opened(db))
        except BaseException:
            connection.close()
            raise
        self._identity = identity(self.path)
        self._database = db
        return db

    def _close(self) -> None:
        self.marks.forget()
        if self._database is not None:
            db, self._database = self._database, None
            try:
                if db.connection.in_transaction:
                    db.connection.execute("ROLLBACK")
                db.connection.close()
            except sqlite3.Error:
                pass  # the error that led here was reported; a new connection follows
