# SPDX-License-Identifier: LGPL-2.1-or-later
"""A store in a loop of the test's own, and short ways to use it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec

from hookd.errors import StorageFailure
from hookd.manager_api import ListJobs
from hookd.model import Job
from hookd.server.storage import queries
from hookd.server.storage.database import Database
from hookd.server.storage.store import Store
from hookd.server.storage.values import StartRequest, StoredEvent
from tests.unit.making import event
from tests.unit.server.storage.ledger import terms

P = ParamSpec("P")


def asynchronous(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test that is a coroutine in a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Shelf(Store):
    """The store, with the jobs that tests write, and what it said of its health."""

    def __init__(self, directory: Path, boot_id: str = "boot", per_boot_ids: bool = False) -> None:
        self.health: list[str | None] = []
        super().__init__(directory, boot_id, per_boot_ids, self.health.append)

    async def start(self, *hooks: str, **values: Any) -> int:
        """Write the start of a job; return its ID once it is on disk."""
        return (await self.write(starting(*hooks, **values))).event.job_id

    async def jobs(self) -> list[Job]:
        """Return the jobs that can be read, newest first."""
        page = await self.read(lambda db: queries.page(db, ListJobs(), None, 1000))
        return page.jobs

    async def fault(self, *hooks: str, **values: Any) -> str:
        """Return the reason for which the start of a job is not taken."""
        try:
            job_id = await self.start(*hooks, **values)
        except StorageFailure as e:
            return e.message
        raise AssertionError(f"job {job_id} was taken")


def starting(
    *hooks: str, request_id: str | None = None, **values: Any
) -> Callable[[Database], StoredEvent]:
    """Return the act that writes the start of a job."""
    told = event(**({"job_id": 0} | values))
    request = StartRequest(event=told, request_id=request_id, tie=False, uid=1)
    return lambda db: db.start_job(request, terms(*hooks))


@asynccontextmanager
async def shelf(directory: Path, **options: Any) -> AsyncIterator[Shelf]:
    """Open the store of a directory; close it in the end."""
    opened = Shelf(directory, **options)
    try:
        yield opened
    finally:
        await opened.close()
