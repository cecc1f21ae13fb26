# SPDX-License-Identifier: LGPL-2.1-or-later
"""The database file: checks that it is the right one and used only by hookd, and opens it."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import time
from pathlib import Path

from hookd.errors import StorageFailure
from hookd.server.storage.schema import VERSION, WrongDatabase

DATABASE = "hookd.db"
CREATED = "hookd.db.created"

FULL_EVENT = 2 * 1024 * 1024  # bytes; a message of 1 MiB is stored once, its IDs also in indices

CHECK_SEC = 2.0  # for the check of the database at a start; queries wait for it

CREATED_TEXT = """hookd made its database in this directory. While this file is here, hookd makes
no new one: a database that is gone is a fault to be looked into, not a fresh beginning. To begin
anew on purpose, remove this file too. IDs go on above those of hookd.db.ids even then.
"""


def check_directory(path: Path) -> None:
    """Raise WrongDatabase or OSError if the directory is not suitable for a database."""
    if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path.parent))
    status = path.parent.stat()
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise WrongDatabase(
            f"the state directory {path.parent} belongs to uid {status.st_uid} with mode "
            f"{stat.S_IMODE(status.st_mode):04o}: it must be hookd's own and writable by "
            "nobody else"
        )


def check_file(path: Path, known: tuple[int, int] | None) -> None:
    """Raise WrongDatabase if the database is missing though it must exist, or is another file."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        if known is not None or (path.parent / CREATED).exists():
            raise WrongDatabase(
                f"the database {path} is gone: restore it, or remove {CREATED} beside it "
                "to begin anew"
            ) from None
        return
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()):
        raise WrongDatabase(f"the database {path} is not a file of hookd's own")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise WrongDatabase(
            f"the database {path} has mode {stat.S_IMODE(status.st_mode):04o}: others "
            "could have written to it"
        )
    if known not in (None, (status.st_dev, status.st_ino)):
        raise WrongDatabase(
            "the database was replaced while hookd was using it: restart hookd to use this one"
        )


def lock(directory: Path) -> int:
    """Return a descriptor that locks the directory for this process.

    Raises StorageFailure if another hookd has locked it.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise StorageFailure(f"{directory}: {e.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StorageFailure(f"{directory} is in use by another hookd") from None
    return fd


def connect(path: Path, read_only: bool = False) -> sqlite3.Connection:
    """Open the database, or create an empty file; change nothing in it."""
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        isolation_level=None,
        timeout=5.0,
        cached_statements=256,
    )


def make_durable(connection: sqlite3.Connection) -> None:
    """Ensure that a transaction is on disk when COMMIT returns.

    This is WAL with synchronous=FULL: see https://www.sqlite.org/wal.html and pragma synchronous.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def try_out(connection: sqlite3.Connection, path: Path) -> None:
    """Write the size of the largest event, roll it back, and commit a small change.

    The cache is set so small that SQLite writes the pages to the write-ahead log before the
    commit, which is never made: this allocates disk space, which the next commits use. The
    database does not grow. Raises sqlite3.Error or OSError if the space is not available; the
    part that was allocated is then released, so that smaller events can use it.
    """
    log = Path(f"{path}-wal")
    before = log.stat().st_size if log.exists() else 0
    connection.execute("PRAGMA cache_size = 10")
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE trial (content BLOB)")
        connection.execute("INSERT INTO trial VALUES (zeroblob(?))", (FULL_EVENT,))
        with log.open("rb+") as file:
            os.fdatasync(file.fileno())  # some file systems allocate the space only now
        connection.execute("ROLLBACK")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        os.truncate(log, before)  # nothing after this offset was ever committed
        raise
    finally:
        connection.execute("PRAGMA cache_size = -2000")  # SQLite's default
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def quick_check(connection: sqlite3.Connection) -> str | None:
    """Return the first damage that SQLite finds in the database; None if it finds none in time.

    See https://www.sqlite.org/pragma.html#pragma_quick_check, which does not check the indices.
    """
    until = time.monotonic() + CHECK_SEC
    connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        return None if found == "ok" else str(found)
    except sqlite3.OperationalError as e:
        if str(e) == "interrupted":
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)


def identity(path: Path) -> tuple[int, int] | None:
    """Return the identity of the file; None if it does not exist."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def reason(fault: Exception, path: Path) -> str:
    """Return the text of an error, with the file that it concerns."""
    if isinstance(fault, WrongDatabase):
        return str(fault)
    if isinstance(fault, OSError):
        return f"{fault.filename or path}: {fault.strerror}"
    return f"{path}: {fault}" if isinstance(fault, sqlite3.Error) else f"{path}: {fault!r}"
