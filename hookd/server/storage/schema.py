# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tables of the database, their version, and the migrations from each version to the next.

The version is in `user_version`, hookd's own number in `application_id` (see SQLite's pragmas of
those names). A migration is a list of statements; they run in one transaction.
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x686B6400  # "hkd": identifies the database for file(1) and hookd

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE jobs (
        key INTEGER PRIMARY KEY AUTOINCREMENT,  -- ascending for ever; job_id with persistent IDs
        job_id INTEGER NOT NULL,
        state TEXT NOT NULL,
        profile TEXT NOT NULL,
        user TEXT NOT NULL,
        client_ip TEXT NOT NULL,
        client_build_no TEXT NOT NULL,
        server_job_id TEXT,
        request_id TEXT,
        attributes TEXT NOT NULL,
        tie INTEGER NOT NULL,
        allowed INTEGER NOT NULL,
        reason TEXT,
        file_count INTEGER NOT NULL,
        byte_count INTEGER NOT NULL,
        outcome TEXT,
        message TEXT,
        end_request_id TEXT,
        started_usec INTEGER NOT NULL,
        ended_usec INTEGER,
        duration_usec INTEGER,
        test INTEGER NOT NULL DEFAULT 0,
        uid INTEGER NOT NULL,
        instance TEXT,
        boot_id TEXT NOT NULL,
        boottime_usec INTEGER NOT NULL
    );
    CREATE INDEX jobs_by_id ON jobs (job_id);
    CREATE INDEX jobs_open ON jobs (key) WHERE state = 'running';
    CREATE INDEX jobs_open_by_server_id ON jobs (server_job_id)
        WHERE state = 'running' AND server_job_id IS NOT NULL;
    CREATE INDEX jobs_by_server_id ON jobs (server_job_id) WHERE server_job_id IS NOT NULL;
    CREATE INDEX jobs_by_end ON jobs (ended_usec) WHERE ended_usec IS NOT NULL;

    CREATE TABLE events (
        job INTEGER NOT NULL REFERENCES jobs (key),
        phase TEXT NOT NULL,
        request_id TEXT,
        digest BLOB,
        usec INTEGER NOT NULL,
        PRIMARY KEY (job, phase)  -- exactly one start and one end
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX events_by_request ON events (request_id) WHERE request_id IS NOT NULL;

    CREATE TABLE runs (
        run_id INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES jobs (key),
        phase TEXT NOT NULL,
        hook TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        runner TEXT,
        replay INTEGER NOT NULL DEFAULT 0,
        due_usec INTEGER,
        result TEXT,
        exit_status INTEGER,
        signal TEXT,
        "limit" TEXT,
        reason TEXT,
        started_usec INTEGER,
        ended_usec INTEGER,
        duration_usec INTEGER,
        cpu_usec INTEGER,
        memory_peak INTEGER,
        output_bytes INTEGER,
        output_dropped INTEGER,
        leftovers INTEGER,
        survivors INTEGER,
        UNIQUE (job, phase, hook, attempt)  -- guarantee 4: none is ever started twice
    );
    CREATE INDEX runs_by_hook ON runs (hook, run_id);
    CREATE INDEX runs_open ON runs (run_id) WHERE state <> 'ended';

    CREATE TABLE hooks (
        name TEXT PRIMARY KEY,
        failures INTEGER NOT NULL,
        parked INTEGER NOT NULL,
        digest TEXT NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE servers (
        uid INTEGER PRIMARY KEY,
        instance TEXT NOT NULL
    );

    CREATE TABLE boot (
        boot_id TEXT NOT NULL,
        last_job_id INTEGER NOT NULL
    );
    """,
    # 1: the gate's time limit has passed and on_error has decided, so its end decides nothing.
    "ALTER TABLE runs ADD COLUMN overdue INTEGER NOT NULL DEFAULT 0;",
    # The number of transactions. Comparing it with hookd.db.ids shows whether one is lost.
    "CREATE TABLE commits (number INTEGER NOT NULL); INSERT INTO commits VALUES (0);",
)

VERSION = len(MIGRATIONS)


class WrongDatabase(Exception):
    """This hookd must not write to the file; the text says why."""


def examine(connection: sqlite3.Connection, may_be_empty: bool) -> None:
    """Check that this is a database of hookd, or an empty file if `may_be_empty`; change nothing.

    Raises WrongDatabase if it belongs to another program or a newer hookd, or if it is empty and
    must not be, and sqlite3.Error if the disk or the file is damaged.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    objects = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (objects or application or version):
        raise WrongDatabase("the database is not hookd's: move it away, or name another directory")
    if version > VERSION:
        raise WrongDatabase(
            f"the database has version {version}, this hookd knows {VERSION}: "
            "install the newer hookd again"
        )
    if version == 0 and not may_be_empty:
        raise WrongDatabase(
            "the database is empty, though hookd had made one: restore it, or remove it and "
            "hookd.db.created beside it to begin anew"
        )


def migrate(connection: sqlite3.Connection) -> bool:
    """Migrate an examined database to this version; return whether it is a new one.

    Raises sqlite3.Error.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return False
    script = "".join(MIGRATIONS[version:])
    connection.executescript(
        f"BEGIN IMMEDIATE; {script} PRAGMA application_id = {APPLICATION_ID}; "
        f"PRAGMA user_version = {VERSION}; COMMIT;"
    )
    return bool(version == 0)
