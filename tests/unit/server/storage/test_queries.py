# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be looked up: one job, pages of jobs by each filter, the last runs of hooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hookd.errors import NoSuchJob
from hookd.manager_api import ListJobs
from hookd.model import JobState, Outcome, Phase, Result, RunState
from hookd.server.storage import queries
from hookd.server.storage.values import Finish
from tests.unit.making import receipt
from tests.unit.server.storage.ledger import Ledger, now, opened


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path / "hookd.db") as ledger:
        yield ledger


def page(
    db: Ledger, limit: int = 100, before: int | None = None, **filters: Any
) -> tuple[list[int], str | None]:
    found = queries.page(db.connection, ListJobs(**filters), before, limit)
    return [job.job_id for job in found.jobs], None if found.cursor is None else str(found.cursor)


def test_a_job_with_all_its_runs(db: Ledger) -> None:
    db.start("a", "b", at=now(10))
    db.end("a", job_id=1, message="m", request_id="e", at=now(20))
    db.runs.finish([Finish(run_id=2, receipt=receipt(Result.FAILED, exit_status=3))], now())
    job = queries.job(db.connection, 1)
    assert (job.state, job.outcome, job.message) == (JobState.ENDED, Outcome.SUCCESS, "m")
    assert (job.end_request_id, job.request_id, job.started_usec) == ("e", None, 10)
    assert (job.tie, job.allowed, job.test) == (False, True, False)
    assert [(r.run_id, r.hook, r.phase, r.state, r.result, r.exit_status) for r in job.hooks] == [
        (1, "a", Phase.START, RunState.WAITING, None, None),
        (2, "b", Phase.START, RunState.ENDED, Result.FAILED, 3),
        (3, "a", Phase.END, RunState.WAITING, None, None),
    ]
    db.hand_over([1], "r")
    assert queries.job(db.connection, 1).hooks[0].state is RunState.WAITING


def test_a_job_that_is_not_there(db: Ledger) -> None:
    with pytest.raises(NoSuchJob, match="no job 1"):
        queries.job(db.connection, 1)


def test_the_events_of_a_job_are_those_that_its_hooks_were_told(db: Ledger) -> None:
    start = db.start("a", server_job_id="s", attributes={"k": "v"}, at=now(10)).event
    assert queries.events(db.connection, 1) == [start]
    end = db.end(
        "a", job_id=1, file_count=3, byte_count=4, outcome=Outcome.ERROR, message="m",
        at=now(20, boottime_usec=7),
    ).event  # fmt: skip
    assert end.duration_usec == 7
    assert queries.events(db.connection, 1) == [start, end]
    with pytest.raises(NoSuchJob, match="no job 2"):
        queries.events(db.connection, 2)


def test_an_id_of_several_boots_means_the_newest(tmp_path: Path) -> None:
    for boot in ("one", "two"):
        with opened(tmp_path / "hookd.db", boot, per_boot_ids=True) as db:
            db.start(user=boot)
    with opened(tmp_path / "hookd.db") as db:
        assert queries.job(db.connection, 1).user == "two"
        assert page(db) == ([1, 1], None)


def test_pages_follow_each_other_without_a_gap_or_a_repeat(db: Ledger) -> None:
    assert page(db) == ([], None)
    for n in range(1, 8):
        db.start("h")
        db.end(job_id=n)
    assert page(db, 7) == ([7, 6, 5, 4, 3, 2, 1], None)
    assert page(db, 3) == ([7, 6, 5], "5")
    db.start()  # what comes meanwhile does not shift the pages
    assert page(db, 3, before=5) == ([4, 3, 2], "2")
    assert page(db, 3, before=2) == ([1], None)
    db.connection.execute("DELETE FROM jobs WHERE key = 4")
    assert page(db, 3, before=5) == ([3, 2, 1], None)


def test_a_page_of_large_jobs_ends_early(db: Ledger) -> None:
    large: dict[str, Any] = {"profile": "x" * 90_000}
    for _ in range(8):
        db.start(**large)
    assert page(db) == ([8, 7, 6], "6")
    assert page(db, before=6) == ([5, 4, 3], "3")
    assert page(db, before=3) == ([2, 1], None)


def test_a_query_looks_at_so_many_jobs_and_no_more(
    db: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "LOOK_AT", 3)
    for n in range(1, 11):
        db.start(profile="odd" if n % 2 else "even")
    db.connection.execute("DELETE FROM jobs WHERE key BETWEEN 4 AND 6")
    db.connection.execute("UPDATE jobs SET profile = 'last' WHERE key = 1")
    assert page(db, profile="odd") == ([9], "8")
    assert page(db, before=8, profile="odd") == ([7], "5")
    assert page(db, before=5, profile="odd") == ([3], None)
    assert page(db, profile="last") == ([], "8")
    assert page(db, state=JobState.RUNNING, profile="last") == ([1], None)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"state": JobState.RUNNING}, [4, 1]),
        ({"state": JobState.ENDED}, [5, 2]),
        ({"state": JobState.REFUSED}, [3]),
        ({"profile": "p"}, [4, 2]),
        ({"profile": "p'; DROP TABLE jobs; --"}, []),
        ({"profile": "p%"}, []),
        ({"user": "u"}, [4, 3]),
        ({"client_ip": "::1"}, [5]),
        ({"outcome": Outcome.LOST}, [5]),
        ({"outcome": Outcome.SUCCESS}, [2]),
        ({"since_usec": 30}, [5, 4, 3]),
        ({"until_usec": 30}, [2, 1]),
        ({"since_usec": 20, "until_usec": 40}, [3, 2]),
        ({"profile": "p", "user": "u", "state": JobState.RUNNING, "since_usec": 1}, [4]),
    ],
)
def test_filters(db: Ledger, filters: dict[str, Any], found: list[int]) -> None:
    db.start(at=now(10))
    db.start(profile="p", at=now(20))
    db.start("gate", user="u", at=now(30))
    db.start(profile="p", user="u", at=now(40))
    db.start(client_ip="::1", at=now(50))
    db.end(job_id=2)
    db.end(job_id=5, outcome=Outcome.LOST)
    db.runs.finish([Finish(run_id=1, receipt=receipt(), refusal="no")], now())
    assert page(db, **filters) == (found, None)
    pages, before = [], None
    while True:  # one at a time, by the cursor
        ids, cursor = page(db, 1, before, **filters)
        pages += ids
        if cursor is None:
            break
        before = int(cursor)
    assert pages == found


def test_the_last_run_of_each_hook_that_has_ended(db: Ledger) -> None:
    db.start("a", "b", "c")
    db.start("a", "b")
    results = {1: Result.SUCCESS, 2: Result.TIMEOUT, 4: Result.FAILED}
    db.runs.finish([Finish(run_id=n, receipt=receipt(r)) for n, r in results.items()], now())
    last = queries.last_runs(db.connection, ["a", "b", "c", "x"])
    assert {hook: (run.run_id, run.result) for hook, run in last.items()} == {
        "a": (4, Result.FAILED),
        "b": (2, Result.TIMEOUT),
    }
