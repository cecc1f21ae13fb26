# SPDX-License-Identifier: LGPL-2.1-or-later
"""Jobs and events in the database: the statements of each change, in one transaction.

Every function that writes makes its checks before the first write, so that a fault leaves nothing
half done. `hookd.server.storage.store` begins and commits the transaction. This file contains only
SQL: no file, thread or policy.
"""

from __future__ import annotations

import hashlib
import sqlite3

import msgspec

from hookd.errors import (
    InvalidParameter,
    JobAlreadyEnded,
    NoSuchJob,
    RequestIdConflict,
)
from hookd.model import (
    Event,
    JobState,
    Outcome,
    Phase,
)
from hookd.server.storage.rows import JOBS, JobRow, age_of, job_row, job_row_of
from hookd.server.storage.runs import RunTable
from hookd.server.storage.states import JOB_STATES, JobChange
from hookd.server.storage.values import EndRequest, NewRun, Now, StartRequest, StoredEvent, Terms

BLAKE2B_BYTES = 16  # of a digest stored by version 0.1.0
PRUNE_STEP = 100  # jobs deleted in one transaction, which takes a few milliseconds


class Database:
    """The tables of jobs and events; `runs` is that of runs. `load` reads what memory keeps."""

    def __init__(self, connection: sqlite3.Connection, boot_id: str, per_boot_ids: bool) -> None:
        self.connection = connection
        self.runs = RunTable(connection)
        self.boot_id = boot_id
        self.per_boot_ids = per_boot_ids
        self._last_key = 0
        self._last_job_id = 0
        self._instances: dict[int, str] = {}

    def load(self) -> None:
        """Read the values that are also kept in memory. Call this again after a rollback."""
        self.runs.load()
        row = self.connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'jobs'"
        ).fetchone()
        self._last_key = row[0] if row is not None else 0
        self._instances = dict(self.connection.execute("SELECT uid, instance FROM servers"))
        row = self.connection.execute("SELECT boot_id, last_job_id FROM boot").fetchone()
        same = row is not None and row[0] == self.boot_id
        self._last_job_id = row[1] if same else 0

    def start_job(self, request: StartRequest, terms: Terms) -> StoredEvent:
        """Write a job's start. Raises RequestIdConflict or QueueFull, and then writes nothing."""
        event = request.event
        content = _content("StartJob", event) if request.request_id is not None else b""
        known = self._known_request(request.request_id, content)
        if known is not None:
            return self._stored_event(known, Phase.START)
        runs, now = terms.matched(event), terms.now
        self.runs.claim(len(runs), terms.room)
        key = self._last_key = self._last_key + 1
        job_id = self._job_id(key)
        self._execute(
            "INSERT INTO jobs (key, job_id, state, profile, user, client_ip, client_build_no,"
            " server_job_id, request_id, attributes, tie, allowed, file_count, byte_count,"
            " started_usec, uid, instance, boot_id, boottime_usec)"
            " VALUES (?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, 1, 0, 0, ?, ?, ?, ?, ?)",
            (
                key, job_id, event.profile, event.user, event.client_ip, event.client_build_no,
                event.server_job_id, request.request_id,
                msgspec.json.encode(event.attributes).decode(), request.tie, now.usec,
                request.uid, self._instances.get(request.uid), now.boot_id, now.boottime_usec,
            ),
        )  # fmt: skip
        event = msgspec.structs.replace(event, job_id=job_id)
        self._event(key, Phase.START, request.request_id, content, now)
        stored = StoredEvent(job=key, event=event, tie=request.tie)
        return self.runs.add(stored, runs, terms.slots)

    def end_job(self, request: EndRequest, terms: Terms) -> StoredEvent:
        """Write the end of a job.

        Raises NoSuchJob, JobAlreadyEnded, RequestIdConflict, InvalidParameter or QueueFull, and
        then writes nothing.
        """
        content = _content("EndJob", request) if request.request_id is not None else b""
        known = self._known_request(request.request_id, content)
        if known is not None:
            return self._stored_event(known, Phase.END)
        row = self._find(request)
        state = JOB_STATES[JobState(row.state)].get(JobChange.END)
        if state is None:
            refused = row.reason if row.outcome is None else None
            raise JobAlreadyEnded(row.job_id, row.outcome, refused)
        event = msgspec.structs.replace(
            row.event(Phase.START),
            phase=Phase.END,
            file_count=request.file_count,
            byte_count=request.byte_count,
            outcome=request.outcome,
            message=request.message,
            duration_usec=row.age(terms.now),
        )
        runs, now = terms.matched(event), terms.now
        self.runs.claim(len(runs), terms.room)
        self._execute(
            "UPDATE jobs SET state = ?, file_count = ?, byte_count = ?, outcome = ?,"
            " message = ?, end_request_id = ?, ended_usec = ?, duration_usec = ? WHERE key = ?",
            (
                state, request.file_count, request.byte_count, request.outcome.value,
                request.message, request.request_id, now.usec, event.duration_usec, row.key,
            ),
        )  # fmt: skip
        self._event(row.key, Phase.END, request.request_id, content, now)
        stored = StoredEvent(
            job=row.key, event=event, allowed=row.allowed, reason=row.reason, tie=row.tie
        )
        return self.runs.add(stored, runs, terms.slots)

    def replay(self, job_id: int, terms: Terms) -> list[StoredEvent]:
        """Write new runs for the stored events of a job, as the next attempts.

        Raises NoSuchJob or QueueFull, and then writes nothing.
        """
        row = self._find(EndRequest(job_id=job_id, outcome=Outcome.UNKNOWN))
        planned = [(event, terms.matched(event)) for event in row.events()]
        self.runs.claim(sum(len(runs) for _, runs in planned), terms.room)
        return [
            self.runs.add(StoredEvent(job=row.key, event=event, replay=True), runs)
            for event, runs in planned
        ]

    def test(self, start: StartRequest, run: NewRun, now: Now) -> StoredEvent:
        """Write a test job, which is not a backup, for one run of a hook that an operator tests.

        Raises RequestIdConflict, and then writes nothing.
        """
        event = start.event
        stored = self.start_job(start, Terms(matched=lambda _: [], now=now))
        if stored.duplicate:
            known = self._stored_event(stored.job, event.phase)
            if start.request_id and [one.hook for one, _ in known.runs[:1]] != [run.hook]:
                raise RequestIdConflict(start.request_id, stored.event.job_id)
            return known
        self._execute(
            "UPDATE jobs SET test = 1, state = 'ended', file_count = ?, byte_count = ?,"
            " outcome = ?, ended_usec = ?, duration_usec = 0 WHERE key = ?",
            (event.file_count, event.byte_count, event.outcome, now.usec, stored.job),
        )
        return self.runs.add(StoredEvent(job=stored.job, event=stored.event, replay=True), [run])

    def server_started(self, uid: int, instance: str) -> list[int]:
        """Store a backup server's instance; return the keys of the open jobs that it has lost."""
        self._execute(
            "INSERT INTO servers (uid, instance) VALUES (?, ?)"
            " ON CONFLICT (uid) DO UPDATE SET instance = excluded.instance",
            (uid, instance),
        )
        self._instances[uid] = instance
        rows = self.connection.execute(
            "SELECT key FROM jobs WHERE state = 'running' AND uid = ? AND instance IS NOT ?"
            " ORDER BY key",
            (uid, instance),
        )
        return [key for (key,) in rows]

    def overdue(self, age_usec: int, now: Now, limit: int) -> tuple[list[int], int | None]:
        """Return up to `limit` open jobs of at least this age, and the time until the next."""
        due: list[int] = []
        soonest: int | None = None
        rows = self.connection.execute(
            "SELECT key, boot_id, boottime_usec, started_usec FROM jobs WHERE state = 'running'"
            " ORDER BY key"
        )
        for key, boot_id, boottime_usec, started_usec in rows:  # not in the order of their age
            left = age_usec - age_of(Now(started_usec, boottime_usec, boot_id), now)
            if left > 0:
                soonest = left if soonest is None else min(left, soonest)
            elif len(due) == limit:
                return due, 0
            else:
                due.append(key)
        return due, soonest

    def open_jobs(self) -> dict[int, bool]:
        """Return the keys of open jobs, and whether each is tied to a connection."""
        rows = self.connection.execute("SELECT key, tie FROM jobs WHERE state = 'running'")
        return {key: bool(tie) for key, tie in rows}

    def prune(self, before: Now) -> int:
        """Delete up to PRUNE_STEP jobs that ended before `before`; return how many.

        Jobs of this boot must have ended before it also by boot time, which cannot be set.
        """
        keys = self.connection.execute(
            "SELECT key FROM jobs WHERE ended_usec < ? AND"
            " (boot_id <> ? OR boottime_usec + COALESCE(duration_usec, 0) < ?) AND NOT EXISTS"
            " (SELECT 1 FROM runs WHERE job = jobs.key AND state <> 'ended')"
            " ORDER BY ended_usec LIMIT ?",
            (before.usec, before.boot_id, before.boottime_usec, PRUNE_STEP),
        ).fetchall()
        for table, column in (("runs", "job"), ("events", "job"), ("jobs", "key")):
            self.connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", keys)
        return len(keys)

    # The parts of an event.

    def _known_request(self, request_id: str | None, content: bytes) -> int | None:
        """Return the key of the job that an earlier request with this ID has written."""
        if request_id is None:
            return None
        row = self.connection.execute(
            "SELECT job, digest FROM events WHERE request_id = ?", (request_id,)
        ).fetchone()
        if row is None:
            return None
        if not _is_digest_of(row[1], content):
            raise RequestIdConflict(request_id, job_row(self.connection, row[0]).job_id)
        return int(row[0])

    def _job_id(self, key: int) -> int:
        if not self.per_boot_ids:
            return key
        self._last_job_id += 1
        self._execute("DELETE FROM boot", ())
        self._execute(
            "INSERT INTO boot (boot_id, last_job_id) VALUES (?, ?)",
            (self.boot_id, self._last_job_id),
        )
        return self._last_job_id

    def _event(
        self, job: int, phase: Phase, request_id: str | None, content: bytes, now: Now
    ) -> None:
        digest = None if request_id is None else _digest(content)
        self._execute(
            "INSERT INTO events (job, phase, request_id, digest, usec) VALUES (?, ?, ?, ?, ?)",
            (job, phase.value, request_id, digest, now.usec),
        )

    def _stored_event(self, job: int, phase: Phase) -> StoredEvent:
        row = job_row(self.connection, job)
        return StoredEvent(
            job=job,
            event=row.event(phase),
            duplicate=True,
            allowed=row.allowed,
            reason=row.reason,
            tie=row.tie,
            runs=self.runs.of_event(job, phase),
        )

    def _find(self, request: EndRequest) -> JobRow:
        """Return the job that an end names; by a backup server's ID, the newest running one."""
        if request.job is not None:
            return job_row(self.connection, request.job)
        if request.job_id is not None:
            query = f"{JOBS} WHERE job_id = ? ORDER BY key DESC LIMIT 1"
            row = self.connection.execute(query, (request.job_id,)).fetchone()
        else:
            # Two backup servers may use the same numbers: the caller's own job comes first.
            query = (
                f"{JOBS} WHERE server_job_id = ?"
                " ORDER BY state = 'running' DESC, uid = ? DESC, key DESC LIMIT 1"
            )
            row = self.connection.execute(query, (request.server_job_id, request.uid)).fetchone()
        if row is None:
            raise NoSuchJob(request.job_id, request.server_job_id)
        job = job_row_of(row)
        if request.server_job_id is not None and job.server_job_id != request.server_job_id:
            raise InvalidParameter(
                "server_job_id",
                f"found {request.server_job_id!r}, but job {job.job_id} has {job.server_job_id!r}",
            )
        return job

    def _execute(self, statement: str, values: tuple[object, ...]) -> int:
        return self.connection.execute(statement, values).rowcount


def _content(method: str, request: Event | EndRequest) -> bytes:
    """Return the content of a request, which must be equal in two requests of one ID.

    How the caller waits for the answer, and the order of attributes, are not part of it.
    """
    if isinstance(request, Event):
        attributes = dict(sorted(request.attributes.items()))
        request = msgspec.structs.replace(request, attributes=attributes)
    return method.encode() + b"\0" + msgspec.json.encode(request)


def _digest(content: bytes) -> bytes:
    """Return the SHA-256, which every build of Python has, even a FIPS one."""
    return hashlib.sha256(content, usedforsecurity=False).digest()


def _is_digest_of(stored: bytes, content: bytes) -> bool:
    """Return whether a stored digest, by this version or 0.1.0, is that of this content."""
    if len(stored) != BLAKE2B_BYTES:
        return stored == _digest(content)
    old = hashlib.blake2b(content, digest_size=BLAKE2B_BYTES, usedforsecurity=False)
    return stored == old.digest()
