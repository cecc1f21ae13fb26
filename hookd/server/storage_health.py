# SPDX-License-Identifier: LGPL-2.1-or-later
"""The state of the storage: reports failure and recovery, and tests it until it works again.

This file reads and writes nothing itself; `hookd.server.storage.store` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hookd.system import faults
from hookd.system.journal import Journal
from hookd.system.records import STORAGE_FAILED, STORAGE_RECOVERED

PROBE_SEC = 1.0  # between two attempts while the storage fails
PROBLEM = "storage"


class StorageHealth:
    """Keeps the problem `storage`. `changed` is called whenever the problem has changed."""

    def __init__(
        self,
        problems: dict[str, str],
        journal: Journal,
        try_out: Callable[[], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._problems = problems
        self._journal = journal
        self._try_out = try_out
        self._changed = changed
        self._probe: asyncio.Task[None] | None = None

    def report(self, fault: str | None) -> None:
        """Take the reason why the storage fails; None when it works again."""
        if fault is None:
            if self._problems.pop(PROBLEM, None) is not None:
                self._journal.send(STORAGE_RECOVERED)
        else:
            if PROBLEM not in self._problems:
                self._journal.send(STORAGE_FAILED, detail=fault)
            self._problems[PROBLEM] = f"storage failed: {fault}"
            if self._probe is None or self._probe.done():
                self._probe = faults.keep("the probe of a storage that failed", self._try_again)
        self._changed()

    async def _try_again(self) -> None:
        """Test the storage until it works, even without calls."""
        while PROBLEM in self._problems:
            await asyncio.sleep(PROBE_SEC)
            await self._try_out()
