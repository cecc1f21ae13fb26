# SPDX-License-Identifier: LGPL-2.1-or-later
"""No ID is given twice and no loss goes unsaid, whatever happens to the database's files."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookd.errors import StorageFailure
from hookd.server.storage.database import Database
from hookd.server.storage.database_file import CREATED, DATABASE
from hookd.server.storage.marks import MARKS, STEP
from tests.unit.server.storage.shelf import asynchronous, shelf, starting

JOBS = 50
PAGE, FRAME, HEADER = 4096, 24, 32


@pytest.fixture(scope="module")
def crashed(own_directory: None) -> Iterator[Path]:
    """Return a state directory as a crash leaves it, with so many jobs, each of a commit."""
    directory = Path(tempfile.mkdtemp())
    live, copy = directory / "live", directory / "copy"
    live.mkdir(mode=0o700)

    async def work() -> None:
        async with shelf(live) as store:
            for number in range(1, JOBS + 1):
                assert await store.start("h") == number
            shutil.copytree(live, copy)

    asyncio.run(work())
    yield copy
    shutil.rmtree(directory)


async def look(directory: Path, boot_id: str) -> tuple[int, int, list[str]]:
    """Return the next job ID and run ID, and what is said of losses."""
    async with shelf(directory, boot_id=boot_id) as store:
        stored_event = await store.write(starting("h"))
        return stored_event.event.job_id, stored_event.runs[0][0].run_id, store.marks.losses


def flip(log: Path, frame: int) -> None:
    with log.open("r+b") as file:
        file.seek(HEADER + frame * (FRAME + PAGE) + FRAME + 100)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 0xFF]))


def frames(log: Path) -> int:
    return (log.stat().st_size - HEADER) // (FRAME + PAGE)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped byte early": lambda log: flip(log, frames(log) // 10),
    "a flipped byte in the middle": lambda log: flip(log, frames(log) // 2),
    "a flipped byte late": lambda log: flip(log, frames(log) - 20),
    "a flipped byte in the last frame": lambda log: flip(log, frames(log) - 1),
    "cut off": lambda log: log.write_bytes(log.read_bytes()[: log.stat().st_size // 2]),
}


@pytest.mark.parametrize("boot_id", ["boot", "another"])
@pytest.mark.parametrize("case", DAMAGE)
@asynchronous
async def test_a_damaged_log(tmp_path: Path, crashed: Path, case: str, boot_id: str) -> None:
    state = tmp_path / "state"
    shutil.copytree(crashed, state)
    DAMAGE[case](state / f"{DATABASE}-wal")
    job_id, run_id, (lost,) = await look(state, boot_id)
    assert job_id == run_id
    assert job_id == JOBS + 1 if boot_id == "boot" else JOBS < job_id <= JOBS + STEP + 1
    assert f"IDs up to job {JOBS} and run {JOBS} were given, it knows " in lost
    if "flipped" in case and "last" not in case:
        assert " is damaged, and " in lost
    assert (await look(state, boot_id))[::2] == (job_id + 1, [])  # said once


@asynchronous
async def test_an_older_copy_of_the_database(tmp_path: Path) -> None:
    async with shelf(tmp_path) as store:
        await store.start("h")
    old = (tmp_path / DATABASE).read_bytes()
    async with shelf(tmp_path) as store:
        assert [await store.start("h") for _ in range(3)] == [2, 3, 4]
    (tmp_path / DATABASE).write_bytes(old)
    job_id, run_id, (lost,) = await look(tmp_path, "another")
    assert (job_id, run_id) == (5, 5)
    assert "IDs up to job 4 and run 4 were given, it knows 1 and 1" in lost


@asynchronous
async def test_ids_of_one_boot(tmp_path: Path) -> None:
    async with shelf(tmp_path, per_boot_ids=True) as store:
        await store.start()
    old = (tmp_path / DATABASE).read_bytes()
    async with shelf(tmp_path, per_boot_ids=True) as store:
        assert await store.start() == 2
    (tmp_path / DATABASE).write_bytes(old)
    async with shelf(tmp_path, per_boot_ids=True) as store:
        assert await store.start() == 3
    async with shelf(tmp_path, boot_id="another", per_boot_ids=True) as store:
        assert await store.start() == 1


@asynchronous
async def test_a_fresh_beginning_is_no_loss_and_gives_no_id_again(tmp_path: Path) -> None:
    async with shelf(tmp_path) as store:
        await store.start("h")
    for name in (DATABASE, CREATED):
        (tmp_path / name).unlink()
    assert await look(tmp_path, "boot") == (2, 2, [])
    for name in (DATABASE, CREATED, MARKS):
        (tmp_path / name).unlink()
    assert await look(tmp_path, "boot") == (1, 1, [])


@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 1000])
@asynchronous
async def test_marks_that_are_gone_or_damaged_are_no_fault(
    tmp_path: Path, content: bytes | None
) -> None:
    async with shelf(tmp_path) as store:
        await store.start("h")
    if content is None:
        (tmp_path / MARKS).unlink()
    else:
        (tmp_path / MARKS).write_bytes(content)
    assert await look(tmp_path, "another") == (2, 2, [])


@asynchronous
async def test_a_crash_without_damage_leaves_no_gap_and_no_loss(
    tmp_path: Path, crashed: Path
) -> None:
    shutil.copytree(crashed, tmp_path / "state")
    assert await look(tmp_path / "state", "boot") == (JOBS + 1, JOBS + 1, [])


@asynchronous
async def test_what_the_runner_has_used_is_skipped_by_the_first_commit_that_succeeds(
    tmp_path: Path,
) -> None:
    def fail(_: Database) -> None:
        raise sqlite3.OperationalError("the disk fails")

    async with shelf(tmp_path) as store:
        assert (await store.write(starting("h"))).runs[0][0].run_id == 1
        store.marks.used_by_runner(70)
        with pytest.raises(StorageFailure):
            await store.write(fail)
        assert (await store.write(starting("h"))).runs[0][0].run_id == 71
        assert (await store.write(starting("h"))).runs[0][0].run_id == 72


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_happens_to_the_log_no_id_is_given_again(
    crashed: Path, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        state = Path(scratch) / "state"
        shutil.copytree(crashed, state)
        log = state / f"{DATABASE}-wal"
        content = bytearray(log.read_bytes())
        for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
            content[at] ^= data.draw(st.integers(1, 255))
        del content[data.draw(st.integers(0, len(content))) :]
        log.write_bytes(content)
        boot_id = data.draw(st.sampled_from(["boot", "another"]))
        try:
            job_id, run_id, _ = asyncio.run(look(state, boot_id))
        except StorageFailure:  # nothing is left that hookd could go on with
            return
        assert min(job_id, run_id) > JOBS
