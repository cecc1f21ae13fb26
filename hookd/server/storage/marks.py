# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ID marks, kept beside the database: no ID is given twice, whatever happens to the database.

The file has two records. The first is an upper bound of the IDs given. It is on disk before the
IDs are given, in steps of STEP, so that few commits wait for it. The second has the highest IDs
given. It is written after each commit without a sync, so it is exact while the system keeps
running, and at least a lower bound after a power cut. If the database has lower numbers than the
second record, it has lost acknowledged transactions, and this is reported.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from pathlib import Path

import msgspec

from hookd.server.storage.wal import damage

MARKS = "hookd.db.ids"
STEP = 256  # IDs reserved at a time; also the largest gap after a power cut
SLOT = 512  # bytes of a record: at most a sector, which a disk writes as a whole


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The highest IDs, and the number of transactions; `clean`: the database was closed."""

    jobs: int = 0
    runs: int = 0
    commits: int = 0
    boot_id: str = ""
    boot_jobs: int = 0
    clean: bool = False


class Marks:
    """The marks of one database. `losses` describes what it had lost each time it was opened.

    The event loop uses `losses`, `unsaid` and `used_by_runner`. Only the writer's thread uses the
    rest.
    """

    def __init__(self, database: Path, boot_id: str) -> None:
        self.path = database.parent / MARKS
        self._database = database
        self._boot_id = boot_id
        self._fd: int | None = None
        self._reserved = Mark()
        self._given = Mark()
        self._changes = 0
        self.losses: list[str] = []
        self._said = 0
        self._used = 0  # the highest run ID that the runner has used
        self._skipping = self._skipped = 0

    def used_by_runner(self, run_id: int) -> None:
        """Ensure that no new run gets this ID or a lower one."""
        self._used = max(self._used, run_id)

    def skip(self, connection: sqlite3.Connection) -> None:
        """Write the runner's highest run ID in each transaction until one of them is on disk."""
        self._skipping = self._used
        if self._skipping > self._skipped:
            _raise(connection, Mark(runs=self._skipping))

    def unsaid(self) -> list[str]:
        """Return the losses that were not returned before."""
        said, self._said = self._said, len(self.losses)
        return self.losses[said:]

    def meet(self, connection: sqlite3.Connection, created: bool) -> None:
        """Ensure that a database just opened gives no ID again; note what it has lost, if any.

        A new database continues with the IDs of the last one. Raises OSError or sqlite3.Error.
        """
        reserved, given = self._read()
        known = _numbers(connection)
        same = given.clean or given.boot_id == self._boot_id
        if not created:
            self.losses += self._lost(given, known, same)
        bound = given if same else reserved
        boot_jobs = given.boot_jobs if given.boot_id == self._boot_id else 0
        floor = Mark(
            jobs=max(known.jobs, given.jobs, bound.jobs),
            runs=max(known.runs, given.runs, bound.runs),
            commits=max(known.commits, given.commits),
            boot_id=self._boot_id,
            boot_jobs=max(boot_jobs, known.boot_jobs if known.boot_id == self._boot_id else 0),
        )
        self._reserved, self._given = reserved, floor
        connection.execute("BEGIN IMMEDIATE")
        _raise(connection, floor)
        self.reserve(connection)
        connection.execute("COMMIT")
        self._changes = connection.total_changes
        if self._given != given:  # from now on the mark is not clean
            fd = self._open()
            _write(fd, 1, self._given)
            os.fdatasync(fd)

    def reserve(self, connection: sqlite3.Connection) -> None:
        """Ensure, before a commit, that the marks on disk cover its IDs; count the commit.

        Raises OSError or sqlite3.Error; the transaction must then not be committed.
        """
        if connection.total_changes == self._changes:
            return
        connection.execute("UPDATE commits SET number = number + 1")
        now = self._now(connection)
        if now.jobs > self._reserved.jobs or now.runs > self._reserved.runs:
            reserved = Mark(jobs=now.jobs + STEP, runs=now.runs + STEP)
            fd = self._open()
            _write(fd, 0, reserved)
            os.fdatasync(fd)
            self._reserved = reserved
        self._given = now

    def given(self, connection: sqlite3.Connection) -> None:
        """Write, after a commit, the IDs that it gave. An error here does not fail the commit."""
        self._skipped = self._skipping
        if connection.total_changes == self._changes:
            return
        self._changes = connection.total_changes
        try:
            _write(self._open(), 1, self._given)
        except OSError:
            self.forget()  # the mark on disk is then a lower bound

    def close(self, clean: bool) -> None:
        """Write that the database was closed, if `clean`, and close the file."""
        if clean and self._given.commits:
            try:
                _write(self._open(), 1, msgspec.structs.replace(self._given, clean=True))
                os.fsync(self._open())
            except OSError:
                pass
        self.forget()

    def forget(self) -> None:
        """Close the file, and forget the state of the connection."""
        self._changes = 0
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _now(self, connection: sqlite3.Connection) -> Mark:
        now = _numbers(connection)
        boot_jobs = now.boot_jobs if now.boot_id == self._boot_id else 0
        return msgspec.structs.replace(now, boot_id=self._boot_id, boot_jobs=boot_jobs)

    def _lost(self, given: Mark, known: Mark, same: bool) -> list[str]:
        commits, broken = given.commits - known.commits, None
        if commits > 0 or not same:
            broken = damage(Path(f"{self._database}-wal"))
        if commits > 0:
            text = (
                f"the last {commits} transactions that were acknowledged are not in the database:"
                f" IDs up to job {given.jobs} and run {given.runs} were given, it knows"
                f" {known.jobs} and {known.runs}"
            )
            return [f"{text}; {broken}" if broken else text]
        return [broken] if broken else []

    def _read(self) -> tuple[Mark, Mark]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return Mark(), Mark()
        return _decode(content[:SLOT]), _decode(content[SLOT : 2 * SLOT])

    def _open(self) -> int:
        if self._fd is None:
            new = not self.path.exists()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self.path, flags, 0o600)
            if new:
                os.pwrite(self._fd, b"\n" * (2 * SLOT), 0)
                directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
        return self._fd


def _numbers(connection: sqlite3.Connection) -> Mark:
    """Return the numbers in the database."""
    last = dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))
    boot = connection.execute("SELECT boot_id, last_job_id FROM boot").fetchone() or ("", 0)
    (commits,) = connection.execute("SELECT number FROM commits").fetchone()
    return Mark(
        jobs=last.get("jobs", 0),
        runs=last.get("runs", 0),
        commits=commits,
        boot_id=boot[0],
        boot_jobs=boot[1],
    )


def _raise(connection: sqlite3.Connection, floor: Mark) -> None:
    """Write these numbers to the database where it has lower ones."""
    known = _numbers(connection)
    for name, least in (("jobs", floor.jobs), ("runs", floor.runs)):
        if getattr(known, name) < least:
            connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
            connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, least))
    if known.commits < floor.commits:
        connection.execute("UPDATE commits SET number = ?", (floor.commits,))
    boot_jobs = known.boot_jobs if known.boot_id == floor.boot_id else 0
    if boot_jobs < floor.boot_jobs:
        connection.execute("DELETE FROM boot")
        connection.execute("INSERT INTO boot VALUES (?, ?)", (floor.boot_id, floor.boot_jobs))


def _write(fd: int, slot: int, mark: Mark) -> None:
    text = msgspec.json.encode(mark)
    record = b"%08x %s" % (zlib.crc32(text), text)
    os.pwrite(fd, record.ljust(SLOT - 1) + b"\n", slot * SLOT)


def _decode(record: bytes) -> Mark:
    """Return the mark in a record; an empty one if the record is not intact."""
    check, _, text = record.strip().partition(b" ")
    if check != b"%08x" % zlib.crc32(text):
        return Mark()
    try:
        return msgspec.json.decode(text, type=Mark)
    except msgspec.MsgspecError:
        return Mark()
