# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written down of runs: handed over, ended, tried again, refused, found at a start."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hookd.errors import NoSuchJob, QueueFull, RequestIdConflict
from hookd.model import INT_MAX, Event, JobState, Outcome, Phase, Receipt, Result, RunState
from hookd.server.storage import queries
from hookd.server.storage.states import IllegalChange, StoredState
from hookd.server.storage.values import Finish, HookState, NewRun, StartRequest
from tests.unit.making import event, receipt
from tests.unit.server.storage.ledger import Ledger, now, opened, terms


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path / "hookd.db") as ledger:
        yield ledger


def ended(run_id: int, result: Result = Result.SUCCESS, **more: object) -> Finish:
    return Finish(run_id=run_id, receipt=receipt(result), **more)  # type: ignore[arg-type]


def open_ids(db: Ledger) -> list[int]:
    return [found.run.run_id for found in db.runs.open_runs(lambda _hook, _event: "")]


def test_a_run_is_handed_over_once(db: Ledger) -> None:
    told = db.start("a", "b", "c").event
    db.runs.finish([ended(3)], now())
    starts = db.hand_over([2, 1], "one")
    assert [(s.run_id, s.hook, s.attempt, s.event) for s in starts] == [
        (2, "b", 1, told),
        (1, "a", 1, told),
    ]
    assert db.hand_over([1, 2], "two") == []
    db.runs.take_back([2])
    assert [start.run_id for start in db.hand_over([1, 2], "two")] == [2]
    assert db.runs.queued == 0


@pytest.mark.parametrize(("run_id", "state"), [(3, "ended"), (99, "not in the database")])
def test_an_illegal_change_raises_and_changes_nothing(db: Ledger, run_id: int, state: str) -> None:
    db.start("a", "b", "c")
    db.hand_over([1], "one")
    db.runs.finish([ended(3)], now())
    before = db.contents()
    for change in (
        lambda: db.hand_over([run_id], "one"),
        lambda: db.runs.take_back([run_id]),
    ):
        with pytest.raises(IllegalChange, match=f"run {run_id} is {state}"):
            change()
    assert db.contents() == before


def test_a_number_that_a_runner_has_used_is_given_to_no_new_run(db: Ledger) -> None:
    db.runs.skip(7)
    assert [run.run_id for run, _ in db.start("a").runs] == [8]
    db.runs.skip(3)
    assert [run.run_id for run, _ in db.start("a").runs] == [9]


def test_a_start_hook_is_told_no_more_than_was_known_at_the_start(db: Ledger) -> None:
    start = db.start("a", attributes={"k": "v"}).event
    end = db.end("a", job_id=1, file_count=5, outcome=Outcome.ERROR).event
    first, second = db.hand_over([1, 2], "r")
    assert (first.event, second.event) == (start, end)
    assert second.event.attributes == {"k": "v"}


WHOLE = Receipt(
    result=Result.LIMIT, exit_status=1, signal="SIGXCPU", limit="cpu_time", reason="é",
    last_line="x",
    started_usec=2, ended_usec=3, duration_usec=4, cpu_usec=5, memory_peak=6, output_bytes=7,
    output_dropped=8, leftovers=9, survivors=INT_MAX,
)  # fmt: skip


def test_the_end_of_a_run_keeps_the_whole_receipt(db: Ledger) -> None:
    db.start("h")
    db.hand_over([1], "r")
    (finished,) = db.runs.finish([Finish(run_id=1, receipt=WHOLE)], now())
    assert (finished.run_id, finished.news, finished.retry) == (1, True, None)
    (run,) = queries.job(db.connection, 1).hooks
    assert run.state is RunState.ENDED
    for name, value in msgspec.structs.asdict(WHOLE).items():
        assert name == "last_line" or getattr(run, name) == value


def test_a_second_end_of_a_run_is_no_news(db: Ledger) -> None:
    db.start("h")
    db.hand_over([1], "r")
    db.runs.finish([ended(1, Result.FAILED)], now())
    before = db.contents()
    again = ended(1, Result.SUCCESS, retry_due_usec=5, refusal="no")
    assert [f.news for f in db.runs.finish([again, ended(99)], now())] == [False, False]
    assert db.contents() == before


def test_a_run_that_is_dropped_makes_room(db: Ledger) -> None:
    db.start("a", "b")
    assert db.runs.queued == 2
    db.runs.finish([ended(1, Result.SKIPPED)], now())
    assert db.runs.queued == 1
    db.hand_over([2], "r")
    db.runs.finish([ended(2)], now())
    assert db.runs.queued == 0


def test_the_next_attempt_is_a_run_of_its_own(db: Ledger) -> None:
    told = db.start("h").event
    db.hand_over([1], "r")
    (finished,) = db.runs.finish([ended(1, Result.FAILED, retry_due_usec=77)], now())
    retry = finished.retry
    assert retry is not None
    assert (retry.run_id, retry.hook, retry.attempt, retry.phase) == (2, "h", 2, Phase.START)
    assert retry.state is RunState.WAITING
    assert db.runs.queued == 1
    (found,) = db.runs.open_runs(lambda hook, _event: hook)
    assert (found.run, found.due_usec) == (retry, 77)
    (start,) = db.hand_over([2], "r")
    assert (start.attempt, start.event) == (2, told)


def test_a_second_end_tells_of_the_next_attempt_that_the_first_has_made(db: Ledger) -> None:
    db.start("h", "k")
    db.hand_over([1, 2], "r")
    failed = ended(1, Result.FAILED, retry_due_usec=77)
    (first,) = db.runs.finish([failed], now())
    (again,) = db.runs.finish([failed], now())
    assert (again.news, again.retry) == (False, first.retry)
    assert db.runs.queued == 1
    db.hand_over([3], "r")
    (late,) = db.runs.finish([failed], now())
    assert late.retry is None


def test_what_no_runner_has_started_waits_again(db: Ledger) -> None:
    db.start("a", "b", "c")
    db.hand_over([1, 2], "one")
    db.runs.finish([ended(2)], now())
    db.runs.take_back([1, 3])
    assert db.runs.queued == 2
    found = db.runs.open_runs(lambda _hook, _event: "")
    assert [(f.run.run_id, f.stored, f.runner) for f in found] == [
        (1, StoredState.WAITING, None),
        (3, StoredState.WAITING, None),
    ]


def test_no_attempt_is_written_twice(db: Ledger) -> None:
    db.start("h")
    with pytest.raises(sqlite3.IntegrityError):
        db.start("h", "h")


def test_a_refusal_ends_the_job_with_its_reason(db: Ledger) -> None:
    db.start("gate", request_id="r")
    db.runs.finish([ended(1, Result.FAILED, refusal="first"), ended(1)], now(5))
    job = queries.job(db.connection, 1)
    assert (job.state, job.allowed, job.reason) == (JobState.REFUSED, False, "first")
    assert (job.outcome, job.ended_usec) == (None, 5)
    again = db.start("gate", request_id="r")
    assert (again.duplicate, again.allowed, again.reason) == (True, False, "first")
    assert again.allowed is False  # and not a 0, which would be no boolean on the wire


def test_the_first_of_two_refusals_stands(db: Ledger) -> None:
    db.start("g", "k")
    db.runs.finish([ended(1, refusal="first")], now(5))
    db.runs.finish([ended(2, refusal="second")], now(6))
    job = queries.job(db.connection, 1)
    assert (job.reason, job.ended_usec) == ("first", 5)


def test_a_job_that_has_ended_stays_so_when_it_is_refused(db: Ledger) -> None:
    db.start("gate")
    db.end(job_id=1, at=now(3))
    db.runs.finish([ended(1, refusal="late")], now(5))
    job = queries.job(db.connection, 1)
    assert (job.state, job.allowed, job.reason) == (JobState.ENDED, False, "late")
    assert job.ended_usec == 3


def test_what_a_start_of_hookd_finds(tmp_path: Path) -> None:
    def key(hook: str, told: Event) -> str:
        return f"{hook} {told.phase} {told.profile} {told.byte_count}"

    with opened(tmp_path / "hookd.db") as db:
        db.start("a", "b", "c", profile="p")
        db.end("d", job_id=1, byte_count=7)
        db.start("g")
        db.hand_over([2], "one")
        db.runs.finish([ended(1), ended(5, refusal="no")], now())
        db.start("e")
    with opened(tmp_path / "hookd.db") as db:
        found = db.runs.open_runs(key)
    assert [(f.run.run_id, f.job, f.job_id, f.stored, f.runner) for f in found] == [
        (2, 1, 1, StoredState.HANDED, "one"),
        (3, 1, 1, StoredState.WAITING, None),
        (4, 1, 1, StoredState.WAITING, None),
        (6, 3, 3, StoredState.WAITING, None),
    ]
    assert [f.overlap_key for f in found[:3]] == ["b start p 0", "c start p 0", "d end p 7"]
    assert not any(f.refused or f.replay for f in found)


def test_the_open_runs_of_a_refused_job_are_known_as_such(db: Ledger) -> None:
    db.start("g", "h")
    db.runs.finish([ended(1, refusal="no")], now())
    db.start("g", "h")
    db.end("e", job_id=2)
    db.runs.finish([ended(3, refusal="late")], now())
    found = db.runs.open_runs(lambda _hook, _event: "")
    assert [(f.run.run_id, f.refused, f.obsolete) for f in found] == [
        (2, True, False),
        (4, True, True),
        (5, False, False),  # the end hooks run whatever the gates said
    ]


def test_hooks_are_remembered(tmp_path: Path) -> None:
    states = [HookState("a", 3, True, "d"), HookState("b", 0, False, "")]
    with opened(tmp_path / "hookd.db") as db:
        db.runs.remember(HookState("a", 1, False, "c"))
        for state in states:
            db.runs.remember(state)
    with opened(tmp_path / "hookd.db") as db:
        assert db.runs.hook_states() == states


def test_a_replay_is_the_next_attempt_of_each_event(db: Ledger) -> None:
    db.start("a", "b")
    db.runs.finish([ended(1), ended(2)], now())
    (start,) = db.replay(1, terms("a"))
    db.end("a", job_id=1)
    db.hand_over([3, 4], "r")
    db.runs.finish([ended(3, Result.FAILED), ended(4)], now())
    again = db.replay(1, terms("a"))
    told = [(b.event.phase, [(run.run_id, run.attempt) for run, _ in b.runs]) for b in again]
    assert [(run.run_id, run.attempt) for run, _ in start.runs] == [(3, 2)]
    assert told == [(Phase.START, [(5, 3)]), (Phase.END, [(6, 2)])]
    assert start.replay
    assert [f.replay for f in db.runs.open_runs(lambda _hook, _event: "")] == [True, True]
    before = db.contents()
    with pytest.raises(NoSuchJob):
        db.replay(9, terms())
    with pytest.raises(QueueFull):
        db.replay(1, terms("a", room=3))
    assert db.contents() == before


@pytest.mark.parametrize("phase", Phase)
def test_a_test_is_a_job_that_is_none(db: Ledger, phase: Phase) -> None:
    outcome = Outcome.ERROR if phase is Phase.END else None
    told = event(phase, job_id=0, outcome=outcome, test=True)
    asked = StartRequest(event=told, request_id="r", tie=False, uid=0)
    stored_event = db.test(asked, NewRun("h", ""), now(5))
    assert stored_event.event == msgspec.structs.replace(told, job_id=1)
    assert (stored_event.replay, [run.run_id for run, _ in stored_event.runs]) == (True, [1])
    (start,) = db.hand_over([1], "r")
    assert start.event == stored_event.event
    job = queries.job(db.connection, 1)
    assert (job.test, job.state, job.outcome, job.ended_usec) == (True, "ended", outcome, 5)
    assert db.overdue(0, now(10**15), 9) == ([], None)
    assert open_ids(db) == [1]
    again = db.test(asked, NewRun("h", ""), now(6))
    assert (again.duplicate, [run.run_id for run, _ in again.runs]) == (True, [1])
    with pytest.raises(RequestIdConflict):
        db.test(asked, NewRun("k", ""), now(6))
    assert open_ids(db) == [1]
