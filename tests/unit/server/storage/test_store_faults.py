# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults of the disk and of the files on it: told with the reason, and over when they are over."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hookd.errors import InternalError, StorageFailure
from hookd.model import Outcome
from hookd.server.storage import queries
from hookd.server.storage.database import Database
from hookd.server.storage.database_file import CREATED, DATABASE
from hookd.server.storage.marks import MARKS
from hookd.server.storage.schema import VERSION
from hookd.server.storage.values import EndRequest, StoredEvent
from tests.unit.server.storage.ledger import terms
from tests.unit.server.storage.shelf import asynchronous, shelf


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    return state


@asynchronous
async def test_a_directory_that_others_can_write_to(directory: Path) -> None:
    async with shelf(directory) as store:
        for mode in (0o777, 0o770, 0o707):
            directory.chmod(mode)
            assert await store.fault() == (
                f"the state directory {directory} belongs to uid {os.geteuid()} with mode "
                f"{mode:04o}: it must be hookd's own and writable by nobody else"
            )
        assert os.listdir(directory) == []
        directory.chmod(0o755)
        assert await store.start() == 1
        await store.try_out()
        assert [bool(reason) for reason in store.health] == [True, True, True, False]


@asynchronous
async def test_a_directory_or_file_of_another_owner(directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("to give files away takes root")
    async with shelf(directory) as store:
        os.chown(directory, 65534, 65534)
        assert "belongs to uid 65534" in await store.fault()
        os.chown(directory, 0, 0)
        assert await store.start() == 1
    os.chown(directory / DATABASE, 65534, 65534)
    async with shelf(directory) as store:
        reason = f"the database {directory / DATABASE} is not a file of hookd's own"
        assert await store.fault() == reason
        os.chown(directory / DATABASE, 0, 0)
        assert await store.start() == 2


@pytest.mark.parametrize("mode", [0o620, 0o602])
@asynchronous
async def test_a_database_that_others_may_write_to(directory: Path, mode: int) -> None:
    async with shelf(directory) as store:
        assert await store.start() == 1
    (directory / DATABASE).chmod(mode)
    async with shelf(directory) as store:
        assert await store.fault() == (
            f"the database {directory / DATABASE} has mode {mode:04o}: others could have written "
            "to it"
        )
        (directory / DATABASE).chmod(0o600)
        assert await store.start() == 2


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
@asynchronous
async def test_a_database_that_is_no_file(directory: Path, kind: str) -> None:
    database = directory / DATABASE
    if kind == "link":
        database.symlink_to(directory / "elsewhere")
    elif kind == "directory":
        database.mkdir()
    else:
        os.mkfifo(database)
    async with shelf(directory) as store:
        assert await store.fault() == f"the database {database} is not a file of hookd's own"
    assert not (directory / "elsewhere").exists()


def gone(database: Path) -> str:
    return (
        f"the database {database} is gone: restore it, or remove {CREATED} beside it to begin anew"
    )


@asynchronous
async def test_a_database_that_is_removed_while_in_use(directory: Path) -> None:
    database = directory / DATABASE
    async with shelf(directory) as store:
        await store.start()
        database.rename(directory / "away")
        reason = "the database was removed or replaced while hookd was using it"
        assert await store.fault() == reason
        assert await store.fault() == gone(database)
        assert not database.exists()
        (directory / "away").rename(database)
        assert await store.start() == 2
        await store.try_out()
        assert store.health == [reason, gone(database), None]


@asynchronous
async def test_a_database_that_is_replaced_while_in_use(directory: Path) -> None:
    database = directory / DATABASE
    async with shelf(directory) as store:
        await store.start()
    shutil.copy(database, directory / "copy")
    async with shelf(directory) as store:
        assert await store.start() == 2
        (directory / "copy").rename(database)
        assert "removed or replaced" in await store.fault()
        reason = (
            "the database was replaced while hookd was using it: restart hookd to use this one"
        )
        assert await store.fault() == await store.fault() == reason
    async with shelf(directory) as store:
        assert await store.start() > 1


@asynchronous
async def test_a_directory_that_is_removed_while_in_use(directory: Path, tmp_path: Path) -> None:
    async with shelf(directory) as store:
        await store.start()
        directory.rename(tmp_path / "away")
        assert "removed or replaced" in await store.fault()
        assert await store.fault() == f"{directory}: No such file or directory"
        (tmp_path / "away").rename(directory)
        assert await store.start() == 2


def unlinked(directory: Path) -> None:
    for file in directory.glob(DATABASE + "*"):
        if file.name != CREATED:
            file.unlink()


def emptied(directory: Path) -> None:
    os.truncate(directory / DATABASE, 0)


@pytest.mark.parametrize("fault", [unlinked, emptied])
@asynchronous
async def test_never_a_silent_new_database(directory: Path, fault: Callable[[Path], None]) -> None:
    async with shelf(directory) as store:
        await store.start()
    fault(directory)
    for _ in range(2):
        async with shelf(directory) as store:
            reason = await store.fault()
            assert reason in (
                gone(directory / DATABASE),
                "the database is empty, though hookd had made one: restore it, or remove it and "
                f"{CREATED} beside it to begin anew",
            )
    (directory / CREATED).unlink()
    begun = 2 if (directory / MARKS).exists() else 1
    async with shelf(directory) as store:
        assert await store.start() == begun


@asynchronous
async def test_a_database_without_its_log_is_no_new_one(directory: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    async with shelf(directory) as store:
        await store.start()
        shutil.copy(directory / DATABASE, copy)
        shutil.copy(directory / CREATED, copy)
    async with shelf(copy) as store:
        assert "the database is empty" in await store.fault()


@asynchronous
async def test_the_mark_is_made_again_where_it_is_missing(directory: Path) -> None:
    async with shelf(directory) as store:
        await store.start()
    (directory / CREATED).unlink()  # as a crash at the very first start leaves it
    async with shelf(directory) as store:
        assert await store.start() == 2
        assert not store.created
    assert (directory / CREATED).exists()


@asynchronous
async def test_a_file_that_a_failed_start_left_empty_becomes_a_new_database(
    directory: Path,
) -> None:
    (directory / DATABASE).touch(mode=0o600)
    async with shelf(directory) as store:
        assert await store.start() == 1
        assert store.created


def pragma(name: str, value: int) -> Callable[[Path], None]:
    def act(database: Path) -> None:
        with sqlite3.connect(database) as connection:
            connection.execute(f"PRAGMA {name} = {value}")
        connection.close()

    return act


def overwritten(database: Path) -> None:
    database.write_bytes(b"This is not a database at all.\n" * 300)


def damaged(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    database.write_bytes(content)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (
            pragma("user_version", VERSION + 1),
            f"the database has version {VERSION + 1}, this hookd knows {VERSION}: "
            "install the newer hookd again",
        ),
        (
            pragma("application_id", 5),
            "the database is not hookd's: move it away, or name another directory",
        ),
        (overwritten, "{}: file is not a database"),
        (damaged, "{}: database disk image is malformed"),
    ],
)
@asynchronous
async def test_a_file_that_cannot_be_used(
    directory: Path, fault: Callable[[Path], None], reason: str
) -> None:
    database = directory / DATABASE
    async with shelf(directory) as store:
        await store.start()
    good = database.read_bytes()
    fault(database)
    bad = database.read_bytes()
    async with shelf(directory) as store:
        assert await store.fault() == reason.format(database)
        assert database.read_bytes() == bad  # nothing is written to what is not understood
        for log in directory.glob(DATABASE + "-*"):
            log.unlink()
        database.write_bytes(good)
        assert await store.start() == 2
        await store.try_out()
        assert store.health == [reason.format(database), None]


@asynchronous
async def test_another_programs_tables_are_left_alone(directory: Path) -> None:
    with sqlite3.connect(directory / DATABASE) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    async with shelf(directory) as store:
        assert "is not hookd's" in await store.fault()
    with sqlite3.connect(directory / DATABASE) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()


@asynchronous
async def test_a_value_that_cannot_be_read_spoils_its_own_job_alone(directory: Path) -> None:
    async with shelf(directory) as store:
        for _ in range(3):
            await store.start()
        await store.write(
            lambda db: db.connection.execute("UPDATE jobs SET attributes = '{' WHERE key = 2")
        )
        ends = [store.write(ending(job_id)) for job_id in (1, 2, 3)]
        one, two, three = await asyncio.gather(*ends, return_exceptions=True)
        assert isinstance(two, StorageFailure)
        assert not isinstance(one, BaseException)
        assert not isinstance(three, BaseException)
        assert (one.event.job_id, three.event.job_id) == (1, 3)
        with pytest.raises(StorageFailure):
            await store.read(lambda db: queries.job(db, 2))
        assert (await store.read(lambda db: queries.job(db, 3))).state == "ended"


def ending(job_id: int) -> Callable[[Database], StoredEvent]:
    request = EndRequest(job_id=job_id, outcome=Outcome.SUCCESS)
    return lambda db: db.end_job(request, terms())


@pytest.mark.parametrize("fault", ["full", "full_at_first", "read_only", "io_error"])
def test_a_disk_that_fails_and_recovers(scratch: Path, fault: str) -> None:
    tree = Path(__file__).parents[4]
    done = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount"),
            *(sys.executable, "-m", "tests.unit.server.storage.failing_disk", fault, str(scratch)),
        ],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "recovered\n"


@asynchronous
async def test_an_error_in_the_delivery_of_a_batch_ends_that_batch_alone(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shelf(directory) as store:
        assert await store.start() == 1
        with monkeypatch.context() as patch:

            def broken(*_: object) -> None:
                raise RuntimeError("broken")

            patch.setattr(store, "_deliver", broken)
            with pytest.raises(InternalError, match="broken"):
                await asyncio.wait_for(store.write(lambda _: None), 10)
        assert await asyncio.wait_for(store.start(), 10) == 2
