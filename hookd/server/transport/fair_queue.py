# SPDX-License-Identifier: LGPL-2.1-or-later
"""Decides whose call is next: a few at a time, so that no user waits for a burst of another.

A call takes several rounds of the event loop. Were each of a thousand connections answered in each
round, one round would take as long as a thousand calls, and every call several of them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from hookd.system import faults

AT_ONCE = 16  # calls in one round of the event loop: about a millisecond


class FairQueue:
    """Serves one user after the other, and the calls of each user in their order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = AT_ONCE
        self._next = faults.Timer(self._next_round)
        self._waiting: OrderedDict[int, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, uid: int) -> None:
        """Return when it is this call's turn, which is mostly at once."""
        self._next.soon()
        if self._left > 0 and not self._waiting:
            self._left -= 1
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.setdefault(uid, deque()).append(turn)
        await turn

    def _next_round(self) -> None:
        self._left = AT_ONCE
        if self._waiting:
            self._next.soon()
        while self._left > 0 and self._waiting:
            uid, queue = self._waiting.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._waiting[uid] = queue  # behind the other users
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
