# SPDX-License-Identifier: LGPL-2.1-or-later
"""The store at work: what is acknowledged is on disk, commits are shared, faults are not."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from hookd.errors import HookdError, InternalError, NoSuchJob, RequestIdConflict, StorageFailure
from hookd.server.storage import queries
from hookd.server.storage.database import Database
from hookd.server.storage.database_file import CREATED, DATABASE, FULL_EVENT
from hookd.server.storage.marks import MARKS
from hookd.server.storage.schema import APPLICATION_ID, VERSION
from tests.unit.server.storage.shelf import Shelf, asynchronous, shelf, starting


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    return state


@asynchronous
async def test_what_is_written_is_found_again(directory: Path) -> None:
    async with shelf(directory) as store:
        assert [await store.start("h", user=user) for user in "abc"] == [1, 2, 3]
        assert [job.user for job in await store.jobs()] == ["c", "b", "a"]
    async with shelf(directory, boot_id="other") as store:
        assert await store.start() == 4
        assert len(await store.jobs()) == 4
    assert store.health == []
    assert (directory / CREATED).read_text().startswith("hookd made its database")


@asynchronous
async def test_per_boot_ids_can_be_switched_while_in_use(directory: Path) -> None:
    async with shelf(directory) as store:
        assert [await store.start(), await store.start()] == [1, 2]
        store.per_boot_ids = True
        assert [await store.start(), await store.start()] == [1, 2]
        store.per_boot_ids = False
        assert await store.start() == 5


@asynchronous
async def test_a_database_as_a_power_cut_leaves_it_has_all_that_was_acknowledged(
    directory: Path, tmp_path: Path
) -> None:
    async with shelf(directory) as store:
        for n in range(1, 6):
            acknowledged = [await store.start("h") for _ in range(3)]
            shutil.copytree(directory, tmp_path / str(n))
            async with shelf(tmp_path / str(n)) as copy:
                assert [job.job_id for job in await copy.jobs()][:3] == acknowledged[::-1]
                assert await copy.start() == 3 * n + 1


@asynchronous
async def test_a_commit_is_durable_and_the_file_is_marked_as_hookds(directory: Path) -> None:
    def pragma(db: Database, name: str) -> object:
        return db.connection.execute(f"PRAGMA {name}").fetchone()[0]

    async with shelf(directory) as store:
        assert await store.write(lambda db: pragma(db, "journal_mode")) == "wal"
        assert await store.write(lambda db: pragma(db, "synchronous")) == 2  # FULL
        assert await store.write(lambda db: pragma(db, "application_id")) == APPLICATION_ID
        assert await store.write(lambda db: pragma(db, "user_version")) == VERSION


@asynchronous
async def test_a_trial_leaves_nothing_behind(directory: Path) -> None:
    async with shelf(directory) as store:
        await store.start("h")
        for _ in range(5):
            await store.try_out()
            await store.start("h")
        assert len(await store.jobs()) == 6
        log = directory / f"{DATABASE}-wal"
        assert FULL_EVENT * 0.9 < log.stat().st_size < FULL_EVENT * 1.5
    assert (directory / DATABASE).stat().st_size < FULL_EVENT / 4
    assert store.health == []


@asynchronous
async def test_a_database_that_was_closed_is_whole_without_its_log(directory: Path) -> None:
    for number in range(1, 11):
        async with shelf(directory) as store:
            await store.start()
            assert len(await store.jobs()) == number  # the reader's connection is open
        assert not (directory / f"{DATABASE}-wal").exists()


@asynchronous
async def test_all_that_comes_during_a_commit_shares_the_next(directory: Path) -> None:
    statements: list[str] = []
    held_up, go_on = threading.Event(), threading.Event()

    def hold(db: Database) -> None:
        db.connection.set_trace_callback(statements.append)
        held_up.set()
        go_on.wait(10)

    async with shelf(directory) as store:
        held = asyncio.create_task(store.write(hold))
        await asyncio.to_thread(held_up.wait, 10)
        writes = [asyncio.create_task(store.start("h")) for _ in range(1000)]
        await asyncio.sleep(0)
        go_on.set()
        assert await asyncio.gather(*writes) == list(range(1, 1001))
        await held
        await store.write(lambda db: db.connection.set_trace_callback(None))
    # The one that was held, then 512 at a time; the last is committed untraced.
    assert statements.count("COMMIT") == 3


@asynchronous
async def test_operations_are_done_in_the_order_they_came(directory: Path) -> None:
    order: list[int] = []
    told: list[int] = []
    async with shelf(directory) as store:
        for n in range(100):
            store.submit(lambda _, n=n: order.append(n), lambda _, n=n: told.append(n))  # type: ignore[misc]
        await store.start()
    assert order == told == list(range(100))


def broken(db: Database) -> None:
    starting("h")(db)
    raise KeyError("a bug")


def twice(db: Database) -> None:
    starting("h")(db)
    starting("h", "h")(db)


def too_large(db: Database) -> None:
    db.connection.execute("SELECT ?", (2**70,))


def odd(db: Database) -> None:
    db.connection.execute("SELECT ?", (object(),))


@pytest.mark.parametrize("fault", [broken, twice, too_large, odd])
@asynchronous
async def test_an_operations_own_fault_is_its_own(directory: Path, fault: object) -> None:
    async with shelf(directory) as store:
        assert await store.start() == 1
        before, bad, after = await asyncio.gather(
            store.start("h"),
            store.write(fault),  # type: ignore[arg-type]
            store.start("h"),
            return_exceptions=True,
        )
        assert (before, after) == (2, 3)
        disk = fault in (twice, odd)
        assert isinstance(bad, StorageFailure if disk else InternalError)
        assert await store.start() == 4
        assert await store.write(lambda db: db.runs.queued) == 2
        await store.try_out()
        assert not store.health or store.health[-1] is None


@asynchronous
async def test_our_own_errors_leave_the_others_alone(directory: Path) -> None:
    async with shelf(directory) as store:
        results = await asyncio.gather(
            store.start(request_id="r"),
            store.start(request_id="r", user="other"),
            store.start(),
            return_exceptions=True,
        )
        assert (results[0], results[2]) == (1, 2)
        assert isinstance(results[1], RequestIdConflict)
        with pytest.raises(NoSuchJob):
            await store.read(lambda db: queries.job(db, 9))
        assert store.health == []


@asynchronous
async def test_a_query_that_fails_is_answered_and_the_next_one_too(directory: Path) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise ValueError("a damaged value")

    async with shelf(directory) as store:
        await store.start()
        for query in (fail, lambda db: db.execute("SELECT nothing")):
            with pytest.raises(StorageFailure):
                await store.read(query)
        with pytest.raises(StorageFailure, match="readonly"):
            await store.read(lambda db: db.execute("DELETE FROM jobs"))
        assert len(await store.jobs()) == 1


@asynchronous
async def test_to_give_up_waiting_does_not_undo(directory: Path) -> None:
    go_on = threading.Event()
    async with shelf(directory) as store:
        held = asyncio.create_task(store.write(lambda _: go_on.wait(10)))
        given_up = asyncio.create_task(store.start())
        await asyncio.sleep(0)
        given_up.cancel()
        go_on.set()
        await held
        assert await store.start() == 2


@asynchronous
async def test_closing_finishes_what_was_handed_in(directory: Path) -> None:
    told: list[object] = []
    store = Shelf(directory)
    for _ in range(600):
        store.submit(starting("h"), told.append)
    await store.close()
    await asyncio.sleep(0)
    assert len(told) == 600
    assert not any(isinstance(outcome, HookdError) for outcome in told)
    assert not [t for t in threading.enumerate() if t.name.startswith("hookd-")]
    async with shelf(directory) as again:
        assert await again.start() == 601
    assert sorted(os.listdir(directory)) == [DATABASE, CREATED, MARKS]


@asynchronous
async def test_a_second_hookd_on_the_same_directory_is_refused(directory: Path) -> None:
    async with shelf(directory) as store:
        await store.start()
        with pytest.raises(StorageFailure) as error:
            await Shelf(directory).close()
        assert error.value.message == f"{directory} is in use by another hookd"
        assert await store.start() == 2
    async with shelf(directory) as store:
        assert await store.start() == 3


@asynchronous
async def test_a_directory_that_is_missing(directory: Path) -> None:
    directory.rmdir()
    with pytest.raises(StorageFailure) as error:
        await Shelf(directory).close()
    assert error.value.message == f"{directory}: No such file or directory"
