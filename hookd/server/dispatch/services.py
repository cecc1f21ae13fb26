# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the methods, the intake and the upkeep work with."""

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

LOOK_UPS = 4  # in the archive at a time


class Services:
    """The parts of a server that its others share; `config` is the configuration in force."""

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
        """Return what a query finds that may find much, or take long to find little.

        Few are under way at a time, so that those who ask how hookd is wait for no more than
        these, and what was found does not heap up. Raises what the query raised, or
        StorageFailure.
        """
        async with self._look_ups:
            return await self.store.read(query)


def clocks(boot_id: str) -> Now:
    """Return this moment on both clocks."""
    return Now(time.time_ns() // 1000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000, boot_id)
