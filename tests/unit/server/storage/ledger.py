# SPDX-License-Identifier: LGPL-2.1-or-later
"""Books on a real file, and short ways to write in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hookd.link import Start
from hookd.model import Event, Outcome
from hookd.server.storage.database import Database
from hookd.server.storage.schema import migrate
from hookd.server.storage.values import (
    Claim,
    EndRequest,
    NewRun,
    Now,
    Slots,
    StartRequest,
    StoredEvent,
    Terms,
)
from tests.unit.making import event

DAY = 86_400_000_000  # microseconds


def now(usec: int = 1_000, boottime_usec: int = 0, boot_id: str = "boot") -> Now:
    return Now(usec, boottime_usec, boot_id)


def terms(*hooks: str, at_once: int = 0, at: Now | None = None, **values: Any) -> Terms:
    """Return terms by which these hooks match every event."""
    runs = [NewRun(hook, "", at_once) for hook in hooks]
    return Terms(matched=lambda _: runs, now=at or now(), **values)


@contextmanager
def opened(path: Path, boot_id: str = "boot", per_boot_ids: bool = False) -> Iterator[Ledger]:
    """Open, or make, the books of a file."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        migrate(connection)
        ledger = Ledger(connection, boot_id, per_boot_ids)
        ledger.load()
        yield ledger
    finally:
        connection.close()


class Ledger(Database):
    """The books, with defaults for what a test does not care about."""

    def start(
        self,
        *hooks: str,
        request_id: str | None = None,
        tie: bool = False,
        uid: int = 1000,
        room: int = 100,
        at: Now | None = None,
        at_once: int = 0,
        slots: Slots | None = None,
        **values: Any,
    ) -> StoredEvent:
        told: Event = event(**({"job_id": 0} | values))
        request = StartRequest(event=told, request_id=request_id, tie=tie, uid=uid)
        at = at or now(boot_id=self.boot_id)
        return self.start_job(
            request, terms(*hooks, at_once=at_once, at=at, room=room, slots=slots)
        )

    def end(
        self,
        *hooks: str,
        room: int = 100,
        at: Now | None = None,
        at_once: int = 0,
        slots: Slots | None = None,
        **values: Any,
    ) -> StoredEvent:
        request = EndRequest(**({"outcome": Outcome.SUCCESS} | values))
        at = at or now(boot_id=self.boot_id)
        return self.end_job(request, terms(*hooks, at_once=at_once, at=at, room=room, slots=slots))

    def hand_over(self, run_ids: Iterable[int], runner: str) -> list[Start]:
        """Hand runs over to a runner with slots for all of them."""
        hooks = dict(self.connection.execute("SELECT run_id, hook FROM runs"))
        claims = [Claim(run_id, hooks.get(run_id, ""), 1000) for run_id in run_ids]
        return self.runs.hand_over(claims, Slots(runner, 1000)).starts

    def contents(self) -> list[list[tuple[Any, ...]]]:
        """Return every row of every table."""
        tables = ("jobs", "events", "runs", "hooks", "servers", "boot")
        return [self.connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
