# SPDX-License-Identifier: LGPL-2.1-or-later
"""A dispatcher with a real database and journal; the test itself speaks for the runner."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from hookd.config.parse import Config
from hookd.link import Ended, Message, Running, Start, Started, Welcome
from hookd.model import HookRun, Job
from hookd.server.dispatch.dispatcher import Dispatcher
from hookd.server.dispatch.intake import Intake
from hookd.server.dispatch.services import Services, clocks
from hookd.server.storage import queries
from hookd.server.storage.store import Store
from hookd.server.storage.values import StartRequest
from hookd.server.transport.runner_link import RunnerLink
from hookd.system.journal import Journal
from tests.unit.making import event, receipt

INSTANCE = "one"


class SentMessages(RunnerLink):
    """A link that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__(lambda _messages: None, lambda _reason: None)
        self.messages: list[Message] = []

    def send(self, message: Message) -> None:
        self.messages.append(message)


class Scene:
    """One server without sockets. `started` are the runs that the runner was told to start."""

    def __init__(self, config: Config, directory: Path) -> None:
        now = partial(clocks, "boot")
        self.link = SentMessages()
        self.journal = Journal()
        self.store = Store(directory, "boot", False, lambda _fault: None)
        self.dispatcher = Dispatcher(
            config, self.store, self.link, self.journal, now, lambda _job_id, _run: None
        )
        services = Services(config, self.store, self.dispatcher, self.journal, now)
        self.intake = Intake(services, lambda _event: None)

    @property
    def started(self) -> list[int]:
        return [message.run_id for message in self.link.messages if isinstance(message, Start)]

    def welcome(self, *running: int) -> None:
        """Have the runner say that it has these runs and no others."""
        goes_on = [Running(run_id, 5) for run_id in running]
        self.dispatcher.welcome(Welcome(INSTANCE, "", [], [], goes_on, []))
        self.dispatcher.handover.ready = True

    async def start(self, profile: str) -> None:
        """Take the start of a job, and return once it is on disk."""
        asked = event(job_id=0, profile=profile)
        request = StartRequest(event=asked, request_id=None, tie=False, uid=1)
        terms = self.intake.terms()
        await self.intake.record(lambda db: db.start_job(request, terms))

    def begin(self, run_id: int) -> None:
        """Have the runner say that a run has started."""
        self.dispatcher.messages([Started(run_id, 5)])

    def end(self, run_id: int) -> None:
        """Have the runner say that a run has ended."""
        self.dispatcher.messages([Ended(run_id, receipt(started_usec=5))])

    async def flushed(self) -> None:
        """Return when all that was to be written, and what follows from it, is on disk."""
        for _ in range(5):
            await self.store.write(lambda _db: None)

    async def runs(self, jobs: Sequence[int]) -> list[HookRun]:
        """Return the runs of these jobs as the database has them."""
        found: list[Job] = [
            await self.store.read(lambda db, job=job: queries.job(db, job))  # type: ignore[misc]
            for job in jobs
        ]
        return [run for job in found for run in job.hooks]


@asynccontextmanager
async def scene(config: Config, directory: Path) -> AsyncIterator[Scene]:
    """Open a server's database in this directory; close it in the end."""
    opened = Scene(config, directory)
    try:
        yield opened
    finally:
        opened.dispatcher.abandon()
        await opened.flushed()
        await opened.store.close()
        opened.journal.close()
