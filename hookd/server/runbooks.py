# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written down of runs, and of the hooks they are runs of.

As in `hookd.server.books`: look first, write last, inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

from hookd.errors import QueueFull
from hookd.link import Start
from hookd.model import Event, HookRun, JobState, Phase
from hookd.server.entries import Finish, Finished, HookState, NewRun, Now, OpenRun
from hookd.server.lifecycle import (
    JOB_STATES,
    Change,
    JobChange,
    Stored,
    after,
    before,
    check_repeat,
)
from hookd.server.rows import RUN_COLUMNS, job_row, new_run, run_of

STARTS = 256  # runs whose start is kept in memory: most are handed over at once
SMALL = 2048  # bytes of an event that is kept for that
RETRY_AFTER_MSEC = 1000  # a queue of the default size drains some hundred runs in that time


class RunBooks:
    """The runs. `queued` counts those on disk that wait; `load` reads it anew."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.queued = 0
        self._starts: dict[int, Start] = {}  # oldest first

    def load(self) -> None:
        """Read what is kept in memory beside the database; also after a rollback."""
        (self.queued,) = self.connection.execute(
            "SELECT count(*) FROM runs WHERE state = 'waiting'"
        ).fetchone()

    def claim(self, runs: int, room: int) -> None:
        """Raise QueueFull where so many more do not fit into so much room."""
        if runs and self.queued + runs > room:
            raise QueueFull(RETRY_AFTER_MSEC)

    def add(
        self, job: int, event: Event, runs: Sequence[NewRun], replay: bool = False
    ) -> list[tuple[HookRun, str]]:
        """Write runs of an event; of a replay, as the next attempts."""
        written = []
        phase = event.phase
        small = _size(event) <= SMALL
        for new in runs:
            attempt = self._next_attempt(job, phase, new.hook) if replay else 1
            run_id = self._insert(
                "INSERT INTO runs (job, phase, hook, attempt, state, replay)"
                " VALUES (?, ?, ?, ?, 'waiting', ?)",
                (job, phase.value, new.hook, attempt, replay),
            )
            written.append((new_run(run_id, new.hook, phase, attempt), new.key))
            if small:
                self._starts[run_id] = Start(run_id, new.hook, attempt, event)
        while len(self._starts) > STARTS:
            del self._starts[next(iter(self._starts))]
        self.queued += len(written)
        return written

    def of_event(self, job: int, phase: Phase) -> list[tuple[HookRun, str]]:
        """Return the runs of an event that stands in the books; their keys are not kept."""
        rows = self.connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE job = ? AND phase = ? ORDER BY run_id",
            (job, phase.value),
        )
        return [(run_of(row), "") for row in rows]

    def hand_over(self, run_ids: Sequence[int], runner: str) -> list[Start]:
        """Write that these runs are this runner's from now on; return what it is to be told.

        One that was handed over before is left out. Raises IllegalChange.
        """
        starts = []
        for run_id in run_ids:
            if self._change(run_id, Change.HAND_OVER, (runner,)):
                self.queued -= 1
                kept = self._starts.pop(run_id, None)
                starts.append(self._start(run_id) if kept is None else kept)
        return starts

    def take_back(self, run_ids: Sequence[int]) -> None:
        """Write that these runs wait again: no runner has started them. Raises IllegalChange."""
        for run_id in run_ids:
            self.queued += self._change(run_id, Change.TAKE_BACK, ())

    def skip(self, run_id: int) -> None:
        """Give no new run this number or a smaller one: the runner has used it."""
        self._execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'runs', 0"
            " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'runs')",
            (),
        )
        self._execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'runs'", (run_id,)
        )

    def finish(self, finishes: Sequence[Finish], now: Now) -> list[Finished]:
        """Write the ends of runs, their next attempts and their jobs' refusals."""
        return [self._finish(finish, now) for finish in finishes]

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
            job = job_row(self.connection, job_key)
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

    # The parts.

    def _finish(self, finish: Finish, now: Now) -> Finished:
        row = self.connection.execute(
            "SELECT job, phase, hook, state, replay FROM runs WHERE run_id = ?", (finish.run_id,)
        ).fetchone()
        if row is None:
            return Finished(finish.run_id, False, None)
        job, phase, hook, state, replay = row
        receipt = finish.receipt
        news = self._change(
            finish.run_id,
            Change.END,
            (
                receipt.result.value, receipt.exit_status, receipt.signal, receipt.limit,
                receipt.reason, receipt.started_usec, receipt.ended_usec, receipt.duration_usec,
                receipt.cpu_usec, receipt.memory_peak, receipt.output_bytes,
                receipt.output_dropped, receipt.leftovers, receipt.survivors,
            ),
        )  # fmt: skip
        if not news:
            return Finished(finish.run_id, False, self._following(finish.run_id, job, phase, hook))
        self.queued -= state == Stored.WAITING
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
        """Change a run; return whether that is news. Raises IllegalChange."""
        if self._execute(_CHANGES[change], (*values, run_id)):
            return True
        row = self.connection.execute("SELECT state FROM runs WHERE run_id = ?", (run_id,))
        found = row.fetchone()
        check_repeat(run_id, Stored(found[0]) if found else None, change)
        return False

    def _execute(self, statement: str, values: tuple[object, ...]) -> int:
        return self.connection.execute(statement, values).rowcount

    def _insert(self, statement: str, values: tuple[object, ...]) -> int:
        return self.connection.execute(statement, values).lastrowid or 0


_COLUMNS = {
    Change.HAND_OVER: "runner = ?",
    Change.TAKE_BACK: "runner = NULL",
    Change.END: (
        'result = ?, exit_status = ?, signal = ?, "limit" = ?, reason = ?, started_usec = ?,'
        " ended_usec = ?, duration_usec = ?, cpu_usec = ?, memory_peak = ?, output_bytes = ?,"
        " output_dropped = ?, leftovers = ?, survivors = ?"
    ),
}
"""What is written beside the state."""


def _size(event: Event) -> int:
    """Return about how many bytes an event takes: it is the texts that can be large."""
    texts = (event.profile, event.user, event.server_job_id or "", event.message or "")
    return sum(map(len, texts)) + sum(len(k) + len(v) for k, v in event.attributes.items())


def _listed(states: Iterable[str]) -> str:
    return ", ".join(f"'{state}'" for state in states)


# The table of states decides inside the statements: what it does not have changes no row.
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
