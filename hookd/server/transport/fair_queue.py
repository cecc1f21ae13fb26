# SPDX-License-Identifier: LGPL-2.1-or-later
"""Chooses the next calls: a few at a time, so that no user waits for a burst of another.

A call takes several iterations of the event loop. If each of a thousand connections were served in
each iteration, an iteration would take as long as a thousand calls, and a call several iterations.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from hookd.system import faults

AT_ONCE = 16  # calls in one iteration of the event loop: about a millisecond


class FairQueue:
    """Serves the users in turn, and the calls of each user in their order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = AT_ONCE
        self._next = faults.Timer(self._next_round)
        self._waiting: OrderedDict[int, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, uid: int) -> None:
        """Wait for the turn of this call, which is mostly at once."""
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
