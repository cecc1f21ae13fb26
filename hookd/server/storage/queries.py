# SPDX-License-Identifier: LGPL-2.1-or-later
"""Queries: a job, or a page of jobs, with their runs. SQL that only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from hookd.errors import NoSuchJob
from hookd.manager_api import ListJobs
from hookd.model import INT_MAX, Event, HookRun, Job, JobState, Outcome
from hookd.server.storage.rows import JOBS, RUN_COLUMNS, job_row_of, run_of

MAX_PAGE_BYTES = 256 * 1024  # a page of jobs with long fields ends here, not at its limit
LOOK_AT = 10_000  # jobs in one query: some milliseconds, so that other queries run between

_COLUMNS = (  # in the order of the fields of Job, after the key
    "key, job_id, state, profile, user, client_ip, client_build_no, server_job_id, request_id,"
    " attributes, tie, allowed, reason, file_count, byte_count, outcome, message, end_request_id,"
    " started_usec, ended_usec, test"
)


def job(connection: sqlite3.Connection, job_id: int) -> Job:
    """Return the newest job with an ID. Raises NoSuchJob."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM jobs WHERE job_id = ? ORDER BY key DESC LIMIT 1", (job_id,)
    ).fetchone()
    if row is None:
        raise NoSuchJob(job_id)
    return _jobs(connection, [row])[0]


def events(connection: sqlite3.Connection, job_id: int) -> list[Event]:
    """Return the events of a job by its ID, as its hooks received them. Raises NoSuchJob."""
    row = connection.execute(
        f"{JOBS} WHERE job_id = ? ORDER BY key DESC LIMIT 1", (job_id,)
    ).fetchone()
    if row is None:
        raise NoSuchJob(job_id)
    return job_row_of(row).events()


class Page(msgspec.Struct):
    """Some jobs, newest first. The query goes on at `cursor`, on this page unless it is `full`."""

    jobs: list[Job]
    size: int  # bytes
    cursor: int | None
    full: bool


def page(
    connection: sqlite3.Connection, call: ListJobs, before: int | None, limit: int, size: int = 0
) -> Page:
    """Return jobs older than `before` that match the call, after reading LOOK_AT jobs at most.

    `limit` is the number of jobs that the page may still get, `size` the bytes that it has.
    """
    newest = connection.execute(
        "SELECT max(key) FROM jobs WHERE key < ?", (INT_MAX if before is None else before,)
    ).fetchone()[0]
    if newest is None:
        return Page([], size, None, False)
    # Open jobs and open runs have indices of their own, so no range has to be searched.
    indexed = call.state is JobState.RUNNING or call.unfinished
    floor = 0 if indexed else newest - LOOK_AT + 1
    conditions, values = _conditions(call)
    rows: list[Sequence[Any]] = []
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM jobs WHERE key BETWEEN ? AND ?{conditions}"
        " ORDER BY key DESC LIMIT ?",
        (floor, newest, *values, limit + 1),
    ):
        if len(rows) == limit or size > MAX_PAGE_BYTES:
            return Page(_jobs(connection, rows), size, rows[-1][0], True)
        rows.append(row)
        size += sum(len(value) for value in row if isinstance(value, str))
    full = size > MAX_PAGE_BYTES
    return Page(_jobs(connection, rows), size, floor if floor > 1 else None, full)


def last_runs(connection: sqlite3.Connection, hooks: Sequence[str]) -> dict[str, HookRun]:
    """Return the newest ended run of each of these hooks that has one."""
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


def _conditions(call: ListJobs) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    if call.state is not None:
        # A literal, not a parameter: otherwise SQLite does not use the index of the open jobs.
        conditions.append(f"state = '{JobState(call.state).value}'")
    if call.unfinished:
        conditions.append("key IN (SELECT job FROM runs WHERE state <> 'ended')")
    for name in ("profile", "user", "client_ip", "outcome"):
        wanted = getattr(call, name)
        if wanted is not None:
            conditions.append(f"{name} = ?")
            values.append(str(wanted))
    for condition, bound in (
        ("started_usec >= ?", call.since_usec),
        ("started_usec < ?", call.until_usec),
    ):
        if bound is not None:
            conditions.append(condition)
            values.append(bound)
    return "".join(f" AND {condition}" for condition in conditions), values


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
