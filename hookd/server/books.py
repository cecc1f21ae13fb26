# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written down: each change of a job or a run as the statements of one transaction.

Every function that writes looks first and writes last, so that one of our errors leaves nothing
half done; the transaction itself is `hookd.server.store`'s. SQL only: no file, thread or policy.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from hookd.errors import (
    InvalidParameter,
    JobAlreadyEnded,
    NoSuchJob,
    QueueFull,
    RequestIdConflict,
)
from hookd.link import Start
from hookd.model import (
    INT_MAX,
    Event,
    HookRun,
    JobState,
    Outcome,
    Phase,
    Receipt,
    Result,
    RunState,
)
from hookd.server.lifecycle import Stored

RETRY_AFTER_MSEC = 1000  # a queue of the default size drains some hundred runs in that time
PRUNE_STEP = 100  # jobs deleted in one transaction: a few milliseconds that nobody notices


class Now(msgspec.Struct, frozen=True):
    """One moment on both clocks: real time for people, boot time for lengths of time."""

    usec: int
    boottime_usec: int
    boot_id: str


class NewRun(msgspec.Struct, frozen=True):
    """A run as it is first written: the hook's name and what makes runs of it rivals."""

    hook: str
    key: str


Plan = Callable[[Event], Sequence[NewRun]]
"""What matches an event; pure, called inside the transaction."""


class Booked(msgspec.Struct, kw_only=True):
    """An event that stands in the books; `runs` in the order they were planned."""

    job: int
    event: Event
    duplicate: bool = False
    allowed: bool = True
    reason: str | None = None
    tie: bool = False
    replay: bool = False
    runs: list[tuple[HookRun, str]] = []


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What StartJob asks to be written."""

    event: Event
    request_id: str | None
    tie: bool
    uid: int


class EndRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an end asks to be written. `job` names it by its key: hookd's own, for lost jobs."""

    job: int | None = None
    job_id: int | None = None
    server_job_id: str | None = None
    uid: int = -1
    file_count: int = 0
    byte_count: int = 0
    outcome: Outcome
    message: str | None = None
    request_id: str | None = None


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run: its receipt, perhaps another attempt, perhaps the job's refusal."""

    run_id: int
    receipt: Receipt
    retry_due_usec: int | None = None
    refusal: str | None = None


class Finished(msgspec.Struct, frozen=True):
    """What became of a Finish: `news` is False when the run had ended before."""

    run_id: int
    news: bool
    retry: HookRun | None


class OpenRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has not ended, as a start finds it.

    `refused`: its job's start was; `obsolete`: a start run whose job has ended. Never of a replay.
    """

    run: HookRun
    job: int
    job_id: int
    key: str
    refused: bool
    obsolete: bool
    replay: bool
    stored: Stored
    runner: str | None
    due_usec: int | None


class HookState(msgspec.Struct, frozen=True):
    """What is remembered of a hook: failures in a row, and whether it is parked."""

    name: str
    failures: int
    parked: bool
    digest: str


class Books:
    """The writing side. `queued` counts the runs on disk that wait; `load` reads it anew."""

    def __init__(self, connection: sqlite3.Connection, boot_id: str, per_boot_ids: bool) -> None:
        self.connection = connection
        self.boot_id = boot_id
        self.per_boot_ids = per_boot_ids
        self.queued = 0
        self._last_job_id = 0

    def load(self) -> None:
        """Read what is kept in memory beside the database; also after a rollback."""
        self.queued = self._value("SELECT count(*) FROM runs WHERE state = 'waiting'")
        row = self.connection.execute("SELECT boot_id, last_job_id FROM boot").fetchone()
        same = row is not None and row[0] == self.boot_id
        self._last_job_id = row[1] if same else 0

    def start_job(self, request: StartRequest, plan: Plan, room: int, now: Now) -> Booked:
        """Write a job's start. Raises RequestIdConflict or QueueFull, having written nothing."""
        event = request.event
        digest = _digest("StartJob", event)
        known = self._known_request(request.request_id, digest)
        if known is not None:
            return self._booked(known, Phase.START)
        runs = plan(event)
        self._claim(len(runs), room)
        instance = self.connection.execute(
            "SELECT instance FROM servers WHERE uid = ?", (request.uid,)
        ).fetchone()
        key = self._insert(
            "INSERT INTO jobs (job_id, state, profile, user, client_ip, client_build_no,"
            " server_job_id, request_id, attributes, tie, allowed, file_count, byte_count,"
            " started_usec, uid, instance, boot_id, boottime_usec)"
            " VALUES (0, 'running', ?, ?, ?, ?, ?, ?, ?, ?, 1, 0, 0, ?, ?, ?, ?, ?)",
            (
                event.profile, event.user, event.client_ip, event.client_build_no,
                event.server_job_id, request.request_id,
                msgspec.json.encode(event.attributes).decode(), request.tie, now.usec,
                request.uid, instance[0] if instance else None, now.boot_id, now.boottime_usec,
            ),
        )  # fmt: skip
        job_id = self._job_id(key)
        self._execute("UPDATE jobs SET job_id = ? WHERE key = ?", (job_id, key))
        event = msgspec.structs.replace(event, job_id=job_id)
        self._event(key, Phase.START, request.request_id, digest, now)
        return Booked(
            job=key, event=event, tie=request.tie, runs=self._runs(key, Phase.START, runs)
        )

    def end_job(self, request: EndRequest, plan: Plan, room: int, now: Now) -> Booked:
        """Write a job's end.

        Raises NoSuchJob, JobAlreadyEnded, RequestIdConflict, InvalidParameter or QueueFull,
        having written nothing.
        """
        digest = _digest("EndJob", request)
        known = self._known_request(request.request_id, digest)
        if known is not None:
            return self._booked(known, Phase.END)
        row = self._find(request)
        if row.state != JobState.RUNNING:
            raise JobAlreadyEnded(row.job_id, row.outcome)
        event = msgspec.structs.replace(
            row.event(Phase.START),
            phase=Phase.END,
            file_count=request.file_count,
            byte_count=request.byte_count,
            outcome=request.outcome,
            message=request.message,
            duration_usec=row.age(now),
        )
        runs = plan(event)
        self._claim(len(runs), room)
        self._execute(
            "UPDATE jobs SET state = 'ended', file_count = ?, byte_count = ?, outcome = ?,"
            " message = ?, end_request_id = ?, ended_usec = ?, duration_usec = ? WHERE key = ?",
            (
                request.file_count, request.byte_count, request.outcome.value, request.message,
                request.request_id, now.usec, event.duration_usec, row.key,
            ),
        )  # fmt: skip
        self._event(row.key, Phase.END, request.request_id, digest, now)
        return Booked(
            job=row.key,
            event=event,
            allowed=row.allowed,
            reason=row.reason,
            tie=row.tie,
            runs=self._runs(row.key, Phase.END, runs),
        )

    def replay(self, job_id: int, plan: Plan, room: int) -> list[Booked]:
        """Write new runs for the events that a job has had, as the next attempts.

        Raises NoSuchJob or QueueFull, having written nothing.
        """
        row = self._find(EndRequest(job_id=job_id, outcome=Outcome.UNKNOWN))
        phases = [Phase.START] if row.outcome is None else [Phase.START, Phase.END]
        planned = [(row.event(phase), plan(row.event(phase))) for phase in phases]
        self._claim(sum(len(runs) for _, runs in planned), room)
        return [
            Booked(
                job=row.key,
                event=event,
                replay=True,
                runs=self._runs(row.key, event.phase, runs, replay=True),
            )
            for event, runs in planned
        ]

    def test(self, event: Event, run: NewRun, uid: int, now: Now) -> Booked:
        """Write a job that is none, for one run of a hook that an operator wants to see."""
        start = StartRequest(event=event, request_id=None, tie=False, uid=uid)
        booked = self.start_job(start, lambda _: [], INT_MAX, now)
        self._execute(
            "UPDATE jobs SET test = 1, state = 'ended', file_count = ?, byte_count = ?,"
            " outcome = ?, ended_usec = ?, duration_usec = 0 WHERE key = ?",
            (event.file_count, event.byte_count, event.outcome, now.usec, booked.job),
        )
        runs = self._runs(booked.job, event.phase, [run], replay=True)
        return Booked(job=booked.job, event=booked.event, replay=True, runs=runs)

    def hand_over(self, run_ids: Sequence[int], runner: str) -> list[Start]:
        """Write that these runs are this runner's from now on; return what it is to be told.

        A run that does not wait is left out.
        """
        starts = []
        for run_id in run_ids:
            changed = self._execute(
                "UPDATE runs SET state = 'handed', runner = ? WHERE run_id = ?"
                " AND state = 'waiting'",
                (runner, run_id),
            )
            if changed:
                self.queued -= 1
                starts.append(self._start(run_id))
        return starts

    def take_back(self, run_ids: Sequence[int]) -> None:
        """Write that these runs wait again: no runner has started them."""
        for run_id in run_ids:
            self.queued += self._execute(
                "UPDATE runs SET state = 'waiting', runner = NULL WHERE run_id = ?"
                " AND state = 'handed'",
                (run_id,),
            )

    def finish(self, finishes: Sequence[Finish], now: Now) -> list[Finished]:
        """Write the ends of runs, their next attempts and their jobs' refusals."""
        return [self._finish(finish, now) for finish in finishes]

    def server_started(self, uid: int, instance: str) -> list[int]:
        """Note a backup server's instance; return the keys of the open jobs that it has lost."""
        self._execute(
            "INSERT INTO servers (uid, instance) VALUES (?, ?)"
            " ON CONFLICT (uid) DO UPDATE SET instance = excluded.instance",
            (uid, instance),
        )
        rows = self.connection.execute(
            "SELECT key FROM jobs WHERE state = 'running' AND uid = ? AND instance IS NOT ?"
            " ORDER BY key",
            (uid, instance),
        )
        return [key for (key,) in rows]

    def overdue(self, age_usec: int, now: Now, limit: int) -> tuple[list[int], int | None]:
        """Return open jobs at least this old, at most `limit`, and how long until the next is."""
        due: list[int] = []
        soonest: int | None = None
        rows = self.connection.execute(
            "SELECT key, boot_id, boottime_usec, started_usec FROM jobs WHERE state = 'running'"
            " ORDER BY key"
        )
        for key, boot_id, boottime_usec, started_usec in rows:  # by no means in order of age
            left = age_usec - _age(boot_id, boottime_usec, started_usec, now)
            if left > 0:
                soonest = left if soonest is None else min(left, soonest)
            elif len(due) == limit:
                return due, 0
            else:
                due.append(key)
        return due, soonest

    def tied(self) -> list[int]:
        """Return the keys of open jobs that hang on a connection."""
        rows = self.connection.execute(
            "SELECT key FROM jobs WHERE state = 'running' AND tie ORDER BY key"
        )
        return [key for (key,) in rows]

    def prune(self, before_usec: int) -> int:
        """Delete some finished jobs that ended before a moment; return how many."""
        keys = self.connection.execute(
            "SELECT key FROM jobs WHERE ended_usec < ? AND NOT EXISTS"
            " (SELECT 1 FROM runs WHERE job = jobs.key AND state <> 'ended')"
            " ORDER BY ended_usec LIMIT ?",
            (before_usec, PRUNE_STEP),
        ).fetchall()
        for table, column in (("runs", "job"), ("events", "job"), ("jobs", "key")):
            self.connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", keys)
        return len(keys)

    def open_runs(self, overlap_key: Callable[[str, Event], str]) -> list[OpenRun]:
        """Return every run that has not ended, oldest first.

        `overlap_key` makes a run's key from its hook's name and its event, which may be large
        and is not kept.
        """
        rows = self.connection.execute(
            "SELECT run_id, job, phase, hook, attempt, state, runner, due_usec, replay FROM runs"
            " WHERE state <> 'ended' ORDER BY run_id"
        ).fetchall()
        found = []
        for run_id, job_key, phase, hook, attempt, state, runner, due_usec, replay in rows:
            job = self._job(job_key)
            open_run = OpenRun(
                run=new_run(run_id, hook, Phase(phase), attempt),
                job=job_key,
                job_id=job.job_id,
                key=overlap_key(hook, job.event(Phase(phase))),
                refused=not job.allowed and phase == Phase.START and not replay,
                obsolete=job.state == JobState.ENDED and phase == Phase.START and not replay,
                replay=bool(replay),
                stored=Stored(state),
                runner=runner,
                due_usec=due_usec,
            )
            found.append(open_run)
        return found

    def hook_states(self) -> list[HookState]:
        """Return what is remembered of hooks."""
        rows = self.connection.execute("SELECT name, failures, parked, digest FROM hooks")
        return [HookState(name, n, bool(parked), digest) for name, n, parked, digest in rows]

    def remember(self, state: HookState) -> None:
        """Write what is remembered of a hook."""
        self._execute(
            "INSERT INTO hooks (name, failures, parked, digest) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET failures = excluded.failures,"
            " parked = excluded.parked, digest = excluded.digest",
            (state.name, state.failures, state.parked, state.digest),
        )

    # The parts of an event.

    def _known_request(self, request_id: str | None, digest: bytes) -> int | None:
        """Return the job's key of the request that had this ID before."""
        if request_id is None:
            return None
        row = self.connection.execute(
            "SELECT job, digest FROM events WHERE request_id = ?", (request_id,)
        ).fetchone()
        if row is None:
            return None
        if row[1] != digest:
            raise RequestIdConflict(request_id, self._job(row[0]).job_id)
        return int(row[0])

    def _claim(self, runs: int, room: int) -> None:
        if runs and self.queued + runs > room:
            raise QueueFull(RETRY_AFTER_MSEC)

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
        self, job: int, phase: Phase, request_id: str | None, digest: bytes, now: Now
    ) -> None:
        self._execute(
            "INSERT INTO events (job, phase, request_id, digest, usec) VALUES (?, ?, ?, ?, ?)",
            (job, phase.value, request_id, digest, now.usec),
        )

    def _runs(
        self, job: int, phase: Phase, runs: Sequence[NewRun], replay: bool = False
    ) -> list[tuple[HookRun, str]]:
        written = []
        for new in runs:
            attempt = self._next_attempt(job, phase, new.hook) if replay else 1
            run_id = self._insert(
                "INSERT INTO runs (job, phase, hook, attempt, state, replay)"
                " VALUES (?, ?, ?, ?, 'waiting', ?)",
                (job, phase.value, new.hook, attempt, replay),
            )
            written.append((new_run(run_id, new.hook, phase, attempt), new.key))
        self.queued += len(written)
        return written

    def _next_attempt(self, job: int, phase: Phase, hook: str) -> int:
        row = self.connection.execute(
            "SELECT max(attempt) FROM runs WHERE job = ? AND phase = ? AND hook = ?",
            (job, phase.value, hook),
        ).fetchone()
        return int(row[0] or 0) + 1

    def _booked(self, job: int, phase: Phase) -> Booked:
        row = self._job(job)
        runs = self.connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE job = ? AND phase = ? ORDER BY run_id",
            (job, phase.value),
        )
        return Booked(
            job=job,
            event=row.event(phase),
            duplicate=True,
            allowed=row.allowed,
            reason=row.reason,
            tie=row.tie,
            runs=[(run_of(r), "") for r in runs],
        )

    def _find(self, request: EndRequest) -> _JobRow:
        """Return the job that an end names; of a server's own ID the newest running one."""
        if request.job is not None:
            return self._job(request.job)
        if request.job_id is not None:
            query = f"{_JOBS} WHERE job_id = ? ORDER BY key DESC LIMIT 1"
            row = self.connection.execute(query, (request.job_id,)).fetchone()
        else:
            # Two backup servers may count alike: one's own job comes first.
            query = (
                f"{_JOBS} WHERE server_job_id = ?"
                " ORDER BY state = 'running' DESC, uid = ? DESC, key DESC LIMIT 1"
            )
            row = self.connection.execute(query, (request.server_job_id, request.uid)).fetchone()
        if row is None:
            raise NoSuchJob(request.job_id, request.server_job_id)
        job = _job_row(row)
        if request.server_job_id is not None and job.server_job_id != request.server_job_id:
            raise InvalidParameter(
                "server_job_id",
                f"found {request.server_job_id!r}, but job {job.job_id} has {job.server_job_id!r}",
            )
        return job

    def _job(self, key: int) -> _JobRow:
        row = self.connection.execute(f"{_JOBS} WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise NoSuchJob()
        return _job_row(row)

    def _start(self, run_id: int) -> Start:
        job, phase, hook, attempt = self.connection.execute(
            "SELECT job, phase, hook, attempt FROM runs WHERE run_id = ?", (run_id,)
        ).fetchone()
        return Start(run_id, hook, attempt, self._job(job).event(Phase(phase)))

    def _finish(self, finish: Finish, now: Now) -> Finished:
        row = self.connection.execute(
            "SELECT job, phase, hook, state, replay FROM runs WHERE run_id = ?", (finish.run_id,)
        ).fetchone()
        if row is None:
            return Finished(finish.run_id, False, None)
        job, phase, hook, state, replay = row
        if state == Stored.ENDED:  # by a commit that failed and was on disk all the same
            return Finished(finish.run_id, False, self._following(finish.run_id, job, phase, hook))
        receipt = finish.receipt
        self._execute(
            _FINISH,
            (
                receipt.result.value, receipt.exit_status, receipt.signal, receipt.limit,
                receipt.reason, receipt.started_usec, receipt.ended_usec, receipt.duration_usec,
                receipt.cpu_usec, receipt.memory_peak, receipt.output_bytes,
                receipt.output_dropped, receipt.leftovers, receipt.survivors, finish.run_id,
            ),
        )  # fmt: skip
        self.queued -= state == Stored.WAITING
        if finish.refusal is not None:
            self._execute(
                "UPDATE jobs SET allowed = 0, reason = ?, ended_usec = coalesce(ended_usec, ?),"
                " state = CASE state WHEN 'running' THEN 'refused' ELSE state END"
                " WHERE key = ? AND allowed",
                (finish.refusal, now.usec, job),
            )
        retry = None
        if finish.retry_due_usec is not None:
            attempt = self._next_attempt(job, Phase(phase), hook)
            run_id = self._insert(
                "INSERT INTO runs (job, phase, hook, attempt, state, replay, due_usec)"
                " VALUES (?, ?, ?, ?, 'waiting', ?, ?)",
                (job, phase, hook, attempt, replay, finish.retry_due_usec),
            )
            self.queued += 1
            retry = new_run(run_id, hook, Phase(phase), attempt)
        return Finished(finish.run_id, True, retry)

    def _following(self, run_id: int, job: int, phase: str, hook: str) -> HookRun | None:
        """Return the next attempt of a run, where one waits."""
        row = self.connection.execute(
            "SELECT run_id, attempt FROM runs WHERE job = ? AND phase = ? AND hook = ?"
            " AND run_id > ? AND state = 'waiting' AND due_usec IS NOT NULL",
            (job, phase, hook, run_id),
        ).fetchone()
        return new_run(row[0], hook, Phase(phase), row[1]) if row is not None else None

    def _execute(self, statement: str, values: tuple[object, ...]) -> int:
        return self.connection.execute(statement, values).rowcount

    def _insert(self, statement: str, values: tuple[object, ...]) -> int:
        return self.connection.execute(statement, values).lastrowid or 0

    def _value(self, query: str) -> int:
        return int(self.connection.execute(query).fetchone()[0])


class _JobRow(msgspec.Struct, frozen=True):
    """A row of the table of jobs, as far as events are made from it."""

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
        """Return what a hook of this phase is told: at a start no more than was known then."""
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

    def age(self, now: Now) -> int:
        """Return how old the job is, in microseconds."""
        return _age(self.boot_id, self.boottime_usec, self.started_usec, now)


def _age(boot_id: str, boottime_usec: int, started_usec: int, now: Now) -> int:
    """Return the age of a job that began then, in microseconds.

    By boot time where it began in this boot, so that a set clock neither ends a job nor keeps
    it. A job of an earlier boot is at least as old as this boot, whatever the clock said then.
    """
    if boot_id == now.boot_id:
        return now.boottime_usec - boottime_usec
    return max(now.boottime_usec, now.usec - started_usec)


_JOBS = f"SELECT {', '.join(_JobRow.__struct_fields__)} FROM jobs"

RUN_COLUMNS = ", ".join({"limit": '"limit"'}.get(name, name) for name in HookRun.__struct_fields__)
"""The columns of a run in the order of HookRun's fields."""

_FINISH = (
    "UPDATE runs SET state = 'ended', result = ?, exit_status = ?, signal = ?, \"limit\" = ?,"
    " reason = ?, started_usec = ?, ended_usec = ?, duration_usec = ?, cpu_usec = ?,"
    " memory_peak = ?, output_bytes = ?, output_dropped = ?, leftovers = ?, survivors = ?"
    " WHERE run_id = ?"
)


def run_of(row: Sequence[object]) -> HookRun:
    """Return the run that a row of RUN_COLUMNS tells of, as the outside sees its state."""
    values = dict(zip(HookRun.__struct_fields__, row, strict=True))
    values["state"] = RunState.ENDED if values["state"] == Stored.ENDED else RunState.WAITING
    values["phase"] = Phase(str(values["phase"]))
    values["result"] = Result(str(values["result"])) if values["result"] else None
    return HookRun(**values)  # type: ignore[arg-type]


def new_run(run_id: int, hook: str, phase: Phase, attempt: int) -> HookRun:
    """Return a run that waits."""
    return HookRun(run_id=run_id, hook=hook, phase=phase, attempt=attempt, state=RunState.WAITING)


def _job_row(row: Sequence[object]) -> _JobRow:
    values = dict(zip(_JobRow.__struct_fields__, row, strict=True))
    for name in ("tie", "allowed", "test"):
        values[name] = bool(values[name])
    return _JobRow(**values)  # type: ignore[arg-type]


def _digest(method: str, request: Event | EndRequest) -> bytes:
    """Return what tells two requests of one ID apart. How an answer is awaited is no content."""
    if isinstance(request, Event):  # nor is the order of attributes
        attributes = dict(sorted(request.attributes.items()))
        request = msgspec.structs.replace(request, attributes=attributes)
    return hashlib.blake2b(
        method.encode() + b"\0" + msgspec.json.encode(request), digest_size=16
    ).digest()
