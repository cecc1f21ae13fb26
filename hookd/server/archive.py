# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be looked up: jobs with their runs, one or a page of them. SQL that only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from hookd.errors import NoSuchJob
from hookd.model import HookRun, Job, JobState, Outcome
from hookd.server.protocol import ListJobs
from hookd.server.rows import RUN_COLUMNS, run_of

MAX_PAGE_BYTES = 1024 * 1024  # a page of jobs with the longest fields ends here, not at its limit

_COLUMNS = (  # in the order of the fields of Job, after the key
    "key, job_id, state, profile, user, client_ip, client_build_no, server_job_id, request_id,"
    " attributes, tie, allowed, reason, file_count, byte_count, outcome, message, end_request_id,"
    " started_usec, ended_usec, test"
)


def job(connection: sqlite3.Connection, job_id: int) -> Job:
    """Return a job by its ID, the newest of that ID. Raises NoSuchJob."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM jobs WHERE job_id = ? ORDER BY key DESC LIMIT 1", (job_id,)
    ).fetchone()
    if row is None:
        raise NoSuchJob(job_id)
    return _jobs(connection, [row])[0]


def page(
    connection: sqlite3.Connection, call: ListJobs, before: int | None, limit: int
) -> tuple[list[Job], str | None]:
    """Return a page of jobs, newest first, and the cursor of the next page."""
    conditions, values = _conditions(call, before)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows: list[Sequence[Any]] = []
    size = 0
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM jobs {where} ORDER BY key DESC LIMIT ?", (*values, limit + 1)
    ):
        if len(rows) == limit or size > MAX_PAGE_BYTES:
            return _jobs(connection, rows), str(rows[-1][0])
        rows.append(row)
        size += sum(len(value) for value in row if isinstance(value, str))
    return _jobs(connection, rows), None


def open_jobs(connection: sqlite3.Connection) -> int:
    """Return how many jobs have started and not ended."""
    row = connection.execute("SELECT count(*) FROM jobs WHERE state = 'running'").fetchone()
    return int(row[0])


def last_runs(connection: sqlite3.Connection, hooks: Sequence[str]) -> dict[str, HookRun]:
    """Return the newest ended run of each of these hooks, of those that have one."""
    found = {}
    for hook in hooks:
        row = connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE hook = ? AND state = 'ended'"
            " ORDER BY run_id DESC LIMIT 1",
            (hook,),
        ).fetchone()
        if row is not None:
            found[hook] = run_of(row)
    return found


def _conditions(call: ListJobs, before: int | None) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    if call.state is not None:
        # Written out, not bound: only so does SQLite use the index of the open jobs.
        conditions.append(f"state = '{JobState(call.state).value}'")
    for name in ("profile", "user", "client_ip", "outcome"):
        wanted = getattr(call, name)
        if wanted is not None:
            conditions.append(f"{name} = ?")
            values.append(str(wanted))
    for condition, bound in (
        ("started_usec >= ?", call.since_usec),
        ("started_usec < ?", call.until_usec),
        ("key < ?", before),
    ):
        if bound is not None:
            conditions.append(condition)
            values.append(bound)
    return conditions, values


def _jobs(connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> list[Job]:
    keys = [row[0] for row in rows]
    runs: dict[int, list[HookRun]] = {key: [] for key in keys}
    marks = ", ".join("?" * len(keys))
    for row in connection.execute(
        f"SELECT job, {RUN_COLUMNS} FROM runs WHERE job IN ({marks}) ORDER BY run_id", keys
    ):
        runs[row[0]].append(run_of(row[1:]))
    return [_job(row, runs[row[0]]) for row in rows]


def _job(row: Sequence[Any], hooks: list[HookRun]) -> Job:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    del values["key"]
    values["state"] = JobState(values["state"])
    values["outcome"] = Outcome(values["outcome"]) if values["outcome"] else None
    values["attributes"] = msgspec.json.decode(values["attributes"], type=dict[str, str])
    for name in ("tie", "allowed", "test"):
        values[name] = bool(values[name])
    return Job(**values, hooks=hooks)
