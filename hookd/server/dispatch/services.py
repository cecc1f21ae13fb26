# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the methods, the intake and the maintenance share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from hookd.config.parse import Config
from hookd.server.dispatch.dispatcher import Dispatcher
from hookd.server.storage.store import Store
from hookd.server.storage.values import Now
from hookd.system.journal import Journal

T = TypeVar("T")

LOOK_UPS = 4  # long queries at a time


class Services:
    """The parts of a server that its other parts use; `config` is the configuration in force."""

    def __init__(
        self,
        config: Config,
        store: Store,
        dispatcher: Dispatcher,
        journal: Journal,
        now: Callable[[], Now],
    ) -> None:
        self.config = config
        self.store = store
        self.dispatcher = dispatcher
        self.journal = journal
        self.now = now
        self._look_ups = asyncio.Semaphore(LOOK_UPS)

    async def look_up(self, query: Callable[..., T]) -> T:
        """Return what a query finds that may take long or find much.

        Only LOOK_UPS of them are under way at a time, so that a short query waits for no more
        than these and their results do not pile up. Raises what the query raised, or
        StorageFailure.
        """
        async with self._look_ups:
            return await self.store.read(query)


def clocks(boot_id: str) -> Now:
    """Return this moment on both clocks."""
    return Now(time.time_ns() // 1000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000, boot_id)
