# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is written down of jobs: IDs, repeated requests, ends, lost jobs. On a real file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookd.errors import (
    HookdError,
    InvalidParameter,
    JobAlreadyEnded,
    NoSuchJob,
    QueueFull,
    RequestIdConflict,
)
from hookd.model import INT_MAX, Outcome, Phase, RunState
from hookd.server.maintenance import horizon
from hookd.server.storage import queries
from tests.unit.making import event
from tests.unit.server.storage.ledger import DAY, Ledger, now, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hookd.db"


@pytest.fixture
def db(path: Path) -> Iterator[Ledger]:
    with opened(path) as ledger:
        yield ledger


def refused(db: Ledger, error: type[HookdError], act: Callable[[], object]) -> HookdError:
    """Return the error that an act is refused with, having seen that it wrote nothing."""
    before, queued = db.contents(), db.runs.queued
    with pytest.raises(error) as raised:
        act()
    assert (db.contents(), db.runs.queued) == (before, queued)
    return raised.value


def test_ids_ascend_over_restarts_and_are_never_used_again(path: Path) -> None:
    ids = []
    for boot in ("one", "two"):
        with opened(path, boot) as db:
            ids += [db.start().event.job_id for _ in range(3)]
    with opened(path, "three") as db:
        for job_id in ids:
            db.end(job_id=job_id)
        assert db.prune(now(INT_MAX, INT_MAX, "three")) == 6
        ids.append(db.start().event.job_id)
    assert ids == [1, 2, 3, 4, 5, 6, 7]


def test_per_boot_ids_count_from_one_at_each_boot_and_go_on_within_it(path: Path) -> None:
    def started(boot: str, per_boot: bool = True) -> list[int]:
        with opened(path, boot, per_boot) as db:
            return [db.start().event.job_id for _ in range(2)]

    assert started("one") == [1, 2]
    assert started("one") == [3, 4]
    assert started("two") == [1, 2]
    assert started("two", per_boot=False) == [7, 8]  # ascending for ever, over all jobs
    assert started("two") == [3, 4]
    with opened(path, "two", True) as db:
        assert db.end(job_id=1).job == 5  # the newest of that ID
        assert queries.job(db.connection, 2).state == "running"


def test_a_start_as_it_is_written_and_answered(db: Ledger) -> None:
    told: dict[str, Any] = {
        "server_job_id": "s",
        "attributes": {"b": "1", "a": "é"},
        "profile": "a b\n",
    }
    stored_event = db.start("h", "g", request_id="r", tie=True, **told)
    assert (
        stored_event.duplicate,
        stored_event.allowed,
        stored_event.reason,
        stored_event.tie,
    ) == (
        False,
        True,
        None,
        True,
    )
    assert stored_event.event == event(job_id=1, **told)
    assert [(run.run_id, run.hook, run.attempt, run.state) for run, _ in stored_event.runs] == [
        (1, "h", 1, RunState.WAITING),
        (2, "g", 1, RunState.WAITING),
    ]
    job = queries.job(db.connection, 1)
    assert (job.profile, job.attributes, job.request_id) == ("a b\n", {"b": "1", "a": "é"}, "r")
    assert (job.state, job.tie, job.started_usec, job.ended_usec) == ("running", True, 1000, None)


def test_a_repeated_request_is_answered_as_the_first_was(db: Ledger) -> None:
    first = db.start("h", request_id="r", attributes={"a": "1", "b": "2"})
    second = db.start("other", request_id="r", attributes={"b": "2", "a": "1"}, at=now(9))
    assert (second.job, second.event, second.duplicate) == (first.job, first.event, True)
    assert second.tie is False
    assert [run.hook for run, _ in second.runs] == ["h"]
    ended = db.end("e", job_id=1, request_id="x", file_count=3)
    again = db.end("e", job_id=1, request_id="x", file_count=3, at=now(9))
    assert (again.duplicate, again.event, again.job) == (True, ended.event, ended.job)
    assert [run.run_id for run, _ in again.runs] == [run.run_id for run, _ in ended.runs]
    assert db.runs.queued == 2


def test_a_request_id_with_other_content_is_a_conflict(db: Ledger) -> None:
    db.start(request_id="r")
    db.start()
    db.end(job_id=1, request_id="x", byte_count=1)
    acts: list[Callable[[], object]] = [
        lambda: db.start(request_id="r", user="other"),
        lambda: db.start(request_id="r", attributes={"a": ""}),
        lambda: db.start(request_id="x"),
        lambda: db.end(job_id=1, request_id="x", byte_count=2),
        lambda: db.end(job_id=2, request_id="x", byte_count=1),
        lambda: db.end(job_id=2, request_id="r"),
    ]
    for act in acts:
        error = refused(db, RequestIdConflict, act)
        assert error.parameters()["job_id"] == 1


def test_a_request_that_version_0_1_0_has_stored_is_known(db: Ledger) -> None:
    db.start(request_id="r", attributes={"a": "1", "b": "2"})
    db.end(job_id=1, request_id="x", byte_count=1)
    for request_id, digest in (  # as that version wrote them
        ("r", "f846b1c4fca2b7760bdf90cadd6a9e1b"),
        ("x", "44ba13c2307e4828ef57d6e3d51b9ad9"),
    ):
        db.connection.execute(
            "UPDATE events SET digest = ? WHERE request_id = ?",
            (bytes.fromhex(digest), request_id),
        )
    assert db.start(request_id="r", attributes={"b": "2", "a": "1"}).duplicate
    assert db.end(job_id=1, request_id="x", byte_count=1).duplicate
    refused(db, RequestIdConflict, lambda: db.start(request_id="r"))
    refused(db, RequestIdConflict, lambda: db.end(job_id=1, request_id="x"))


def test_two_starts_without_a_request_id_are_two_jobs(db: Ledger) -> None:
    assert [db.start(server_job_id="s").event.job_id for _ in range(2)] == [1, 2]


def test_an_end_as_it_is_written_and_answered(db: Ledger) -> None:
    db.start(at=now(1_000, 5_000_000))
    stored_event = db.end(
        "h",
        job_id=1,
        file_count=2,
        byte_count=INT_MAX,
        outcome=Outcome.WARNING,
        message="m",
        at=now(7_000, 12_000_000),
    )
    assert stored_event.event == event(
        Phase.END,
        job_id=1,
        file_count=2,
        byte_count=INT_MAX,
        outcome=Outcome.WARNING,
        message="m",
        duration_usec=7_000_000,
    )
    job = queries.job(db.connection, 1)
    assert (job.state, job.outcome, job.message) == ("ended", "warning", "m")
    assert (job.file_count, job.byte_count, job.ended_usec) == (2, INT_MAX, 7_000)


def test_an_end_of_nothing_and_a_second_end(db: Ledger) -> None:
    refused(db, NoSuchJob, lambda: db.end("h", job_id=1))
    refused(db, NoSuchJob, lambda: db.end("h", server_job_id="s"))
    db.start(server_job_id="s")
    db.end(job_id=1, outcome=Outcome.ERROR)
    acts: list[Callable[[], object]] = [
        lambda: db.end("h", job_id=1),
        lambda: db.end("h", server_job_id="s"),
    ]
    for act in acts:
        error = refused(db, JobAlreadyEnded, act)
        assert error.parameters() == {"job_id": 1, "outcome": "error", "reason": None}


def test_hookd_names_a_job_by_its_key_to_lose_it(path: Path) -> None:
    with opened(path, "one", True) as db:
        db.start()
    with opened(path, "two", True) as db:
        db.start()
        assert db.end("h", job=1, outcome=Outcome.LOST, message="why").event.job_id == 1
        refused(db, JobAlreadyEnded, lambda: db.end("h", job=1))
        refused(db, NoSuchJob, lambda: db.end("h", job=9))
        assert queries.job(db.connection, 1).state == "running"  # the other of that ID


def test_a_servers_own_id_means_its_newest_running_job(db: Ledger) -> None:
    for uid in (1, 1, 2, 1):
        db.start(server_job_id="s", uid=uid)
    assert db.end(server_job_id="s", uid=1).event.job_id == 4
    assert db.end(server_job_id="s", uid=1).event.job_id == 2
    assert db.end(server_job_id="s", uid=2).event.job_id == 3
    assert db.end(server_job_id="s", uid=2).event.job_id == 1  # of whomever, if none is one's own
    error = refused(db, JobAlreadyEnded, lambda: db.end(server_job_id="s", uid=1))
    assert error.parameters()["job_id"] == 4


def test_both_ids_must_mean_the_same_job(db: Ledger) -> None:
    db.start(server_job_id="s")
    error = refused(db, InvalidParameter, lambda: db.end(job_id=1, server_job_id="t"))
    assert str(error) == "server_job_id: found 't', but job 1 has 's'"
    assert db.end(job_id=1, server_job_id="s").job == 1


def test_the_queue_has_room_for_so_many_runs(db: Ledger) -> None:
    db.start("a", "b", room=3)
    error = refused(db, QueueFull, lambda: db.start("a", "b", room=3))
    assert error.parameters() == {"retry_after_msec": 1000}
    refused(db, QueueFull, lambda: db.end("a", "b", job_id=1, room=3))
    db.start("a", room=3)
    refused(db, QueueFull, lambda: db.start("a", room=3))
    assert db.start(room=3).runs == []  # what needs no room is always taken
    db.hand_over([1], "runner")
    assert db.start("a", room=3).job == 4


def test_what_a_start_finds_out_of_the_file_is_what_was_counted(path: Path) -> None:
    with opened(path) as db:
        db.start("a", "b", "c")
        db.hand_over([2], "runner")
    with opened(path) as db:
        assert db.runs.queued == 2


def test_a_new_instance_of_a_server_loses_its_open_jobs_alone(db: Ledger) -> None:
    db.start(uid=1)  # of before any instance was known
    assert db.server_started(1, "one") == [1]
    db.end(job_id=1)
    db.start(uid=1)
    db.start(uid=1)
    db.end(job_id=3)
    db.start(uid=2)
    assert db.server_started(1, "one") == []
    assert db.server_started(2, "one") == [4]
    assert db.server_started(1, "two") == [2]


def test_open_jobs_that_hang_on_a_connection(db: Ledger) -> None:
    for tie in (True, False, True, True):
        db.start(tie=tie)
    db.end(job_id=3)
    assert db.open_jobs() == {1: True, 2: False, 4: True}


def test_overdue_by_the_clock_that_cannot_be_set(db: Ledger) -> None:
    db.start(at=now(100 * DAY, 0))
    db.start(at=now(0, DAY))
    db.start(at=now(200 * DAY, 2 * DAY))
    for clock in (0, 10_000 * DAY):
        assert db.overdue(DAY, now(clock, DAY - 1), 9) == ([], 1)
        assert db.overdue(DAY, now(clock, DAY), 9) == ([1], DAY)
        assert db.overdue(DAY, now(clock, 3 * DAY), 9) == ([1, 2, 3], None)
        assert db.overdue(DAY, now(clock, 3 * DAY), 2) == ([1, 2], 0)
    db.end(job_id=1)
    assert db.overdue(DAY, now(0, DAY), 9) == ([], DAY)


def test_overdue_after_a_reboot(db: Ledger) -> None:
    db.start(at=now(10 * DAY, 5 * DAY, "before"))
    assert db.overdue(DAY, now(11 * DAY - 1, 5, "after"), 9) == ([], 1)
    assert db.overdue(DAY, now(11 * DAY, 5, "after"), 9) == ([1], None)


def test_a_job_of_a_boot_with_a_wrong_clock_hides_no_other_and_is_lost_too(db: Ledger) -> None:
    db.start(at=now(9_000 * DAY, 0, "before"))
    db.start(at=now(10 * DAY, 0, "after"))
    assert db.overdue(2 * DAY, now(12 * DAY, 2 * DAY, "after"), 9) == ([1, 2], None)
    assert db.overdue(3 * DAY, now(12 * DAY, 2 * DAY, "after"), 9) == ([], DAY)


def test_history_goes_in_small_steps_and_only_where_all_has_ended(db: Ledger) -> None:
    db.connection.execute("BEGIN")
    for n in range(1, 251):
        db.start(*["h"] * (n <= 2))
        db.end(job_id=n, at=now(n))
    db.start()
    db.connection.execute("COMMIT")
    db.hand_over([2], "runner")
    assert [db.prune(now(240, boot_id="after")) for _ in range(4)] == [100, 100, 37, 0]
    left = [1, 2, *range(240, 252)]
    assert [key for (key,) in db.connection.execute("SELECT key FROM jobs")] == left
    assert [key for (key,) in db.connection.execute("SELECT DISTINCT job FROM events")] == left
    db.connection.execute("UPDATE runs SET state = 'ended'")
    assert db.prune(now(240, boot_id="after")) == 2
    assert db.connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_what_ended_in_this_boot_is_as_old_as_boot_time_says(db: Ledger) -> None:
    db.start(at=now(1, 10))
    db.end(job_id=1, at=now(2, 20))
    for before, pruned in (
        (now(INT_MAX, 20), 0),
        (now(1, 21), 0),
        (now(INT_MAX, 21), 1),
    ):
        assert db.prune(before) == pruned


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6))
def test_only_a_clock_that_is_set_back_moves_what_is_history(jump: int, passed: int) -> None:
    began, age = now(10**9, 10**7), 10**5
    found = horizon(began, now(began.usec + passed + jump, began.boottime_usec + passed), age)
    assert found.usec == began.usec + passed + min(jump, 0) - age
    assert found.boottime_usec == began.boottime_usec + passed - age
