# SPDX-License-Identifier: LGPL-2.1-or-later
"""Converts rows of the database to values of the model. Reads only; contains only SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from hookd.errors import NoSuchJob
from hookd.model import Event, HookRun, Outcome, Phase, Receipt, Result, RunState
from hookd.server.storage.states import StoredState
from hookd.server.storage.values import Now


class JobRow(msgspec.Struct, frozen=True):
    """The part of a row of the table of jobs from which events are made."""

    key: int
    job_id: int
    state: str
    profile: str
    user: str
    client_ip: str
    client_build_no: str
    server_job_id: str | None
    attributes: str
    tie: bool
    allowed: bool
    reason: str | None
    file_count: int
    byte_count: int
    outcome: str | None
    message: str | None
    started_usec: int
    duration_usec: int | None
    test: bool
    boot_id: str
    boottime_usec: int

    def event(self, phase: Phase) -> Event:
        """Return the event of this phase: that of a start has only what was known at the start."""
        common = {
            "phase": phase,
            "job_id": self.job_id,
            "profile": self.profile,
            "user": self.user,
            "client_ip": self.client_ip,
            "client_build_no": self.client_build_no,
            "server_job_id": self.server_job_id,
            "attributes": msgspec.json.decode(self.attributes, type=dict[str, str]),
            "test": self.test,
        }
        if phase is Phase.START:
            return Event(**common)  # type: ignore[arg-type]
        return Event(
            **common,  # type: ignore[arg-type]
            file_count=self.file_count,
            byte_count=self.byte_count,
            outcome=Outcome(self.outcome) if self.outcome else None,
            message=self.message,
            duration_usec=self.duration_usec or 0,
        )

    def events(self) -> list[Event]:
        """Return the events of the job: its start and, if it has ended, its end."""
        phases = (Phase.START,) if self.outcome is None else (Phase.START, Phase.END)
        return [self.event(phase) for phase in phases]

    def age(self, now: Now) -> int:
        """Return how old the job is, in microseconds."""
        return age_of(Now(self.started_usec, self.boottime_usec, self.boot_id), now)


def age_of(since: Now, now: Now) -> int:
    """Return the age of a job that started at `since`, in microseconds.

    The age is measured by boot time if the job started in this boot, so that setting the clock
    neither ends a job nor keeps it. A job of an earlier boot is at least as old as this boot,
    whatever the clock was then.
    """
    if since.boot_id == now.boot_id:
        return now.boottime_usec - since.boottime_usec
    return max(now.boottime_usec, now.usec - since.usec)


JOBS = f"SELECT {', '.join(JobRow.__struct_fields__)} FROM jobs"

RUN_COLUMNS = ", ".join(f'"{name}"' for name in HookRun.__struct_fields__)
"""The columns of a run in the order of HookRun's fields, quoted: `limit` is an SQL keyword."""

RECEIPT_COLUMNS = tuple(
    name for name in Receipt.__struct_fields__ if name in HookRun.__struct_fields__
)
"""The fields of a Receipt that are columns of a run and fields of HookRun, by the same names."""


def job_row(connection: sqlite3.Connection, key: int) -> JobRow:
    """Return the row of a job. Raises NoSuchJob."""
    row = connection.execute(f"{JOBS} WHERE key = ?", (key,)).fetchone()
    if row is None:
        raise NoSuchJob()
    return job_row_of(row)


def job_row_of(row: Sequence[object]) -> JobRow:
    """Return the JobRow of a row of JOBS."""
    values = dict(zip(JobRow.__struct_fields__, row, strict=True))
    for name in ("tie", "allowed", "test"):
        values[name] = bool(values[name])
    return JobRow(**values)  # type: ignore[arg-type]


def run_of(row: Sequence[object]) -> HookRun:
    """Return the run of a row of RUN_COLUMNS, with the state that clients see."""
    values = dict(zip(HookRun.__struct_fields__, row, strict=True))
    values["state"] = RunState.ENDED if values["state"] == StoredState.ENDED else RunState.WAITING
    values["phase"] = Phase(str(values["phase"]))
    values["result"] = Result(str(values["result"])) if values["result"] else None
    return HookRun(**values)  # type: ignore[arg-type]


def new_run(run_id: int, hook: str, phase: Phase, attempt: int) -> HookRun:
    """Return a waiting run."""
    return HookRun(run_id=run_id, hook=hook, phase=phase, attempt=attempt, state=RunState.WAITING)
