# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs in the database, and the quarantine states of hooks.

As in `hookd.server.storage.database`, checks precede writes; the caller has begun a transaction.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from hookd.errors import QueueFull
from hookd.link import Start
from hookd.model import Event, HookRun, JobState, Phase, Receipt
from hookd.server.storage.rows import RECEIPT_COLUMNS, RUN_COLUMNS, job_row, new_run, run_of
from hookd.server.storage.states import (
    JOB_STATES,
    Change,
    JobChange,
    StoredState,
    after,
    before,
    check_repeat,
)
from hookd.server.storage.values import (
    Claim,
    Finish,
    Finished,
    HandedOver,
    HookState,
    NewRun,
    Now,
    OpenRun,
    Slots,
    StoredEvent,
)

RETRY_AFTER_MSEC = 1000  # in this time, a queue of the default size drains some hundred runs


class RunTable:
    """The runs. `waiting` and `handed` count those of each hook before and after hand-over."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.waiting: Counter[str] = Counter()
        self.handed: Counter[str] = Counter()

    def load(self) -> None:
        """Read the counts that are kept in memory. Call this again after a rollback."""
        self.waiting.clear()
        self.handed.clear()
        for state, hook, count in self.connection.execute(
            "SELECT state, hook, count(*) FROM runs WHERE state <> 'ended' GROUP BY state, hook"
        ):
            (self.waiting if state == StoredState.WAITING else self.handed)[hook] = count

    @property
    def queued(self) -> int:
        """The number of waiting runs."""
        return self.waiting.total()

    def claim(self, runs: int, room: int) -> None:
        """Raise QueueFull if more than `room` runs would wait with `runs` more."""
        if runs and self.queued + runs > room:
            raise QueueFull(RETRY_AFTER_MSEC)

    def add(
        self, stored: StoredEvent, runs: Sequence[NewRun], slots: Slots | None = None
    ) -> StoredEvent:
        """Write runs of an event, and return it with them. Runs of a replay are the next attempts.

        A run that need not wait is written as handed over at once, which saves a second
        transaction.
        """
        job, event, phase = stored.job, stored.event, stored.event.phase
        if runs and phase is Phase.END and self._starts_are_open(job):
            slots = None
        for new in runs:
            attempt = self._next_attempt(job, phase, new.hook) if stored.replay else 1
            runner = self._free(new, slots)
            state = StoredState.WAITING if runner is None else StoredState.HANDED
            run_id = self._insert(
                "INSERT INTO runs (job, phase, hook, attempt, state, runner, replay)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (job, phase.value, new.hook, attempt, state.value, runner, stored.replay),
            )
            stored.runs.append((new_run(run_id, new.hook, phase, attempt), new.overlap_key))
            if runner is None:
                self.waiting[new.hook] += 1
            else:
                self.handed[new.hook] += 1
                stored.runner = runner
                stored.handed.append(Start(run_id, new.hook, attempt, event))
        return stored

    def of_event(self, job: int, phase: Phase) -> list[tuple[HookRun, str]]:
        """Return the stored runs of an event; their overlap keys are not stored."""
        rows = self.connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE job = ? AND phase = ? ORDER BY run_id",
            (job, phase.value),
        )
        return [(run_of(row), "") for row in rows]

    def hand_over(self, claims: Sequence[Claim], slots: Slots) -> HandedOver:
        """Write that these runs are handed over to this runner, as far as there are slots.

        Raises IllegalChange.
        """
        found = HandedOver()
        for claim in claims:
            full = self.handed.total() >= slots.most or self.handed[claim.hook] >= claim.most
            if full and self._state(claim.run_id) is StoredState.WAITING:
                found.without_slot.append(claim.run_id)
            elif self._change(claim.run_id, Change.HAND_OVER, (slots.runner,)):
                self.waiting[claim.hook] -= 1
                self.handed[claim.hook] += 1
                found.starts.append(self._start(claim.run_id))
        return found

    def take_back(self, run_ids: Sequence[int]) -> None:
        """Write that these runs wait again: no runner has started them. Raises IllegalChange."""
        for run_id in run_ids:
            if self._change(run_id, Change.TAKE_BACK, ()):
                hook = self._start(run_id).hook
                self.handed[hook] -= 1
                self.waiting[hook] += 1

    def skip(self, run_id: int) -> None:
        """Give no new run this ID or a lower one, because the runner has used it."""
        self._execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'runs', 0"
            " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'runs')",
            (),
        )
        self._execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'runs'", (run_id,)
        )

    def finish(self, finishes: Sequence[Finish], now: Now) -> list[Finished]:
        """Write the ends of runs, their next attempts and the refusals of their jobs."""
        return [self._finish(finish, now) for finish in finishes]

    def overdue(self, run_id: int, refusal: str | None, now: Now) -> None:
        """Write that a job was decided without this gate, and the refusal if there is one."""
        self._execute("UPDATE runs SET overdue = 1 WHERE run_id = ?", (run_id,))
        if refusal is not None:
            query = "SELECT job FROM runs WHERE run_id = ?"
            for (job,) in self.connection.execute(query, (run_id,)).fetchall():
                self._execute(_REFUSE, (refusal, now.usec, job))

    def open_runs(self, overlap_key: Callable[[str, Event], str]) -> list[OpenRun]:
        """Return every run that has not ended, oldest first.

        `overlap_key` makes the key of a run from the name of its hook and its event, which may be
        large and is not kept.
        """
        rows = self.connection.execute(
            "SELECT run_id, job, phase, hook, attempt, state, runner, due_usec, replay, overdue"
            " FROM runs WHERE state <> 'ended' ORDER BY run_id"
        ).fetchall()
        found = []
        for run_id, job_key, phase, hook, attempt, state, runner, due, replay, overdue in rows:
            job = job_row(self.connection, job_key)
            open_run = OpenRun(
                run=new_run(run_id, hook, Phase(phase), attempt),
                job=job_key,
                job_id=job.job_id,
                overlap_key=overlap_key(hook, job.event(Phase(phase))),
                refused=not job.allowed and phase == Phase.START and not replay,
                obsolete=job.state == JobState.ENDED and phase == Phase.START and not replay,
                replay=bool(replay),
                test=job.test,
                stored=StoredState(state),
                runner=runner,
                due_usec=due,
                overdue=bool(overdue),
                since=Now(job.started_usec, job.boottime_usec, job.boot_id),
            )
            found.append(open_run)
        return found

    def hook_states(self) -> list[HookState]:
        """Return the stored states of hooks."""
        rows = self.connection.execute("SELECT name, failures, parked, digest FROM hooks")
        return [HookState(name, n, bool(parked), digest) for name, n, parked, digest in rows]

    def remember(self, state: HookState) -> None:
        """Write the state of a hook."""
        self._execute(
            "INSERT INTO hooks (name, failures, parked, digest) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET failures = excluded.failures,"
            " parked = excluded.parked, digest = excluded.digest",
            (state.name, state.failures, state.parked, state.digest),
        )

    # Internal.

    def _starts_are_open(self, job: int) -> bool:
        """Return whether a start run of the job is open, so that its end runs have to wait."""
        query = "SELECT 1 FROM runs WHERE job = ? AND phase = 'start' AND state <> 'ended' LIMIT 1"
        return self.connection.execute(query, (job,)).fetchone() is not None

    def _free(self, new: NewRun, slots: Slots | None) -> str | None:
        """Return the runner that starts a run at once; None if the run has to wait."""
        if slots is None or self.handed.total() >= slots.most:
            return None
        free = not self.waiting[new.hook] and self.handed[new.hook] < new.at_once
        return slots.runner if free else None

    def _finish(self, finish: Finish, now: Now) -> Finished:
        row = self.connection.execute(
            "SELECT job, phase, hook, state, replay FROM runs WHERE run_id = ?", (finish.run_id,)
        ).fetchone()
        if row is None:
            return Finished(finish.run_id, False, None)
        job, phase, hook, state, replay = row
        news = self._change(finish.run_id, Change.END, _receipt_values(finish.receipt))
        if not news:
            return Finished(finish.run_id, False, self._following(finish.run_id, job, phase, hook))
        (self.waiting if state == StoredState.WAITING else self.handed)[hook] -= 1
        if finish.refusal is not None:
            self._execute(_REFUSE, (finish.refusal, now.usec, job))
        retry = None
        if finish.retry_due_usec is not None:
            attempt = self._next_attempt(job, Phase(phase), hook)
            run_id = self._insert(
                "INSERT INTO runs (job, phase, hook, attempt, state, replay, due_usec)"
                " VALUES (?, ?, ?, ?, 'waiting', ?, ?)",
                (job, phase, hook, attempt, replay, finish.retry_due_usec),
            )
            self.waiting[hook] += 1
            retry = new_run(run_id, hook, Phase(phase), attempt)
        return Finished(finish.run_id, True, retry)

    def _following(self, run_id: int, job: int, phase: str, hook: str) -> HookRun | None:
        """Return the next attempt of a run; None if none waits."""
        row = self.connection.execute(
            "SELECT run_id, attempt FROM runs WHERE job = ? AND phase = ? AND hook = ?"
            " AND run_id > ? AND state = 'waiting' AND due_usec IS NOT NULL",
            (job, phase, hook, run_id),
        ).fetchone()
        return new_run(row[0], hook, Phase(phase), row[1]) if row is not None else None

    def _next_attempt(self, job: int, phase: Phase, hook: str) -> int:
        row = self.connection.execute(
            "SELECT max(attempt) FROM runs WHERE job = ? AND phase = ? AND hook = ?",
            (job, phase.value, hook),
        ).fetchone()
        return int(row[0] or 0) + 1

    def _start(self, run_id: int) -> Start:
        job, phase, hook, attempt = self.connection.execute(
            "SELECT job, phase, hook, attempt FROM runs WHERE run_id = ?", (run_id,)
        ).fetchone()
        return Start(run_id, hook, attempt, job_row(self.connection, job).event(Phase(phase)))

    def _change(self, run_id: int, change: Change, values: tuple[object, ...]) -> bool:
        """Change a run; return False if it was changed so before. Raises IllegalChange."""
        if self._execute(_CHANGES[change], (*values, run_id)):
            return True
        check_repeat(run_id, self._state(run_id), change)
        return False

    def _state(self, run_id: int) -> StoredState | None:
        row = self.connection.execute("SELECT state FROM runs WHERE run_id = ?", (run_id,))
        found = row.fetchone()
        return StoredState(found[0]) if found else None

    def _execute(self, statement: str, values: tuple[object, ...]) -> int:
        return self.connection.execute(statement, values).rowcount

    def _insert(self, statement: str, values: tuple[object, ...]) -> int:
        return self.connection.execute(statement, values).lastrowid or 0


_receipt_values: Callable[[Receipt], tuple[object, ...]] = attrgetter(*RECEIPT_COLUMNS)

_COLUMNS = {
    Change.HAND_OVER: "runner = ?",
    Change.TAKE_BACK: "runner = NULL",
    Change.END: ", ".join(f'"{name}" = ?' for name in RECEIPT_COLUMNS),
}
"""The columns that each change writes beside the state."""


def _listed(states: Iterable[str]) -> str:
    return ", ".join(f"'{state}'" for state in states)


# The statements contain the table of states: a change that it does not have changes no row.
_CHANGES = {
    change: f"UPDATE runs SET state = '{after(change)}', {columns}"
    f" WHERE run_id = ? AND state IN ({_listed(before(change))})"
    for change, columns in _COLUMNS.items()
}
_REFUSE = (
    "UPDATE jobs SET allowed = 0, reason = ?, ended_usec = coalesce(ended_usec, ?), state = CASE"
    + "".join(
        f" WHEN state = '{state}' THEN '{changes[JobChange.REFUSE]}'"
        for state, changes in JOB_STATES.items()
    )
    + " END WHERE key = ? AND allowed"
)
