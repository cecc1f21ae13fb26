# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program for a mount namespace of its own: a store on a small file system that fails.

`python -m tests.unit.server.storage.failing_disk FAULT DIRECTORY`
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from hookd.errors import StorageFailure
from tests.unit.server.storage.shelf import Shelf, shelf


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


async def write_until_it_fails(store: Shelf, acknowledged: list[int]) -> str:
    for _ in range(5000):
        try:
            acknowledged.append(await store.start("h", profile="x" * 2000))
        except StorageFailure as e:
            return e.message
    raise AssertionError("the disk never failed")


async def check(store: Shelf, acknowledged: list[int], reasons: list[str | None]) -> None:
    """See that all that was acknowledged is there, in order, and that it was said."""
    acknowledged.append(await store.start("h"))
    assert acknowledged == sorted(set(acknowledged))
    assert [job.job_id for job in await store.jobs()] == acknowledged[-1000:][::-1]
    assert await store.write(lambda db: db.runs.queued) == len(acknowledged)
    assert store.health == reasons, "a small write says nothing of a large one"
    await store.try_out()
    assert store.health == [*reasons, None], store.health


async def full(directory: Path) -> None:
    mount("-t", "tmpfs", "-o", "size=4M,mode=700", "tmpfs", str(directory))
    ballast = directory / "ballast"
    ballast.write_bytes(b"x" * 3_700_000)
    acknowledged: list[int] = []
    async with shelf(directory) as store:
        reason = await write_until_it_fails(store, acknowledged)
        assert reason == f"{store.path}: database or disk is full", reason
        for _ in range(3):
            assert await store.fault("h", profile="x" * 2000) == reason
        assert len(await store.jobs()) == len(acknowledged)  # what is there can still be read
        ballast.unlink()
        await check(store, acknowledged, [reason])


async def full_at_first(directory: Path) -> None:
    mount("-t", "tmpfs", "-o", "size=4M,mode=700", "tmpfs", str(directory))
    ballast = directory / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    async with shelf(directory) as store:
        reason = await store.fault()
        ballast.unlink()
        await check(store, [], [reason])


async def read_only(directory: Path) -> None:
    mount("-t", "tmpfs", "-o", "mode=700", "tmpfs", str(directory))
    async with shelf(directory) as store:
        acknowledged = [await store.start("h")]
    mount("-o", "remount,bind,ro", str(directory))
    async with shelf(directory) as store:
        reason = await store.fault()
        assert reason == f"{directory}: Read-only file system"
        mount("-o", "remount,bind,rw", str(directory))
        await check(store, acknowledged, [reason])


async def io_error(directory: Path) -> None:
    mount("-t", "tmpfs", "-o", "mode=700", "tmpfs", str(directory))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    acknowledged: list[int] = []
    async with shelf(directory) as store:
        await store.start("h")
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, most))  # write(2) gives EFBIG
        acknowledged.append(1)
        reason = await write_until_it_fails(store, acknowledged)
        assert reason == f"{store.path}: disk I/O error", reason
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        await check(store, acknowledged, [reason])


FAULTS = {
    "full": full,
    "full_at_first": full_at_first,
    "read_only": read_only,
    "io_error": io_error,
}

if __name__ == "__main__":
    asyncio.run(FAULTS[sys.argv[1]](Path(sys.argv[2])))
    print("recovered")
