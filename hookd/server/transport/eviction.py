# SPDX-License-Identifier: LGPL-2.1-or-later
"""Chooses the connection to close at a limit: that of connections, or that of bytes held.

The rule is the same for both: a connection of the user that uses most is closed. No user is kept
out by another one that has more. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Protocol

MAX_CONNECTIONS = 1024  # in all: more than a host has backup jobs; some ten MB of memory
SPARE_DESCRIPTORS = 256  # for the database, the link, a child runner, reloads
MAX_HELD = 16 * 1024 * 1024  # bytes of all calls and unread answers together


class Evictable(Protocol):
    """A connection."""

    @property
    def uid(self) -> int:
        """The user ID of the peer."""

    @property
    def held(self) -> int:
        """The number of bytes that are held for the connection."""

    def cut(self, reason: str) -> None:
        """Close the connection; the reason is recorded."""


class Evictor:
    """All connections and their limits."""

    def __init__(self) -> None:
        self._connections = MAX_CONNECTIONS
        self._connections_open: set[Evictable] = set()
        self._users: Counter[int] = Counter()
        self._resting: defaultdict[int, dict[Evictable, None]] = defaultdict(dict)
        self._held = 0  # an upper bound: it includes bytes released since the last count

    def fit(self, descriptors: int) -> None:
        """Reduce the limit of connections to what this number of descriptors allows."""
        self._connections = min(
            MAX_CONNECTIONS, max(descriptors - SPARE_DESCRIPTORS, descriptors // 2)
        )

    def enter(self, evictable: Evictable) -> None:
        """Count a connection."""
        self._connections_open.add(evictable)
        self._users[evictable.uid] += 1

    def leave(self, evictable: Evictable) -> None:
        """Stop counting a connection."""
        self.work(evictable)
        self._connections_open.remove(evictable)
        self._users -= Counter((evictable.uid,))  # this removes a user without connections

    def rest(self, evictable: Evictable) -> None:
        """Note that the connection may be closed; those of a user are closed in this order."""
        self._resting[evictable.uid][evictable] = None

    def work(self, evictable: Evictable) -> None:
        """Note that the connection must not be closed for another one, or has ended."""
        resting = self._resting[evictable.uid]
        resting.pop(evictable, None)
        if not resting:
            del self._resting[evictable.uid]

    def refusal(self, uid: int) -> str | None:
        """Return why a user cannot have another connection; None if it can, perhaps by eviction.

        One user never gets the last quarter of the connections.
        """
        most = self._connections * 3 // 4
        if self._users[uid] >= most:
            why = f"the user has {most} connections open"
            return None if self._evict(uid, why) else why
        if len(self._connections_open) >= self._connections:
            why = f"{self._connections} connections are open"
            return None if self.make(uid, why) else why
        return None

    def make(self, uid: int | None, why: str) -> bool:
        """Close a connection of the user that has most and more than this one, or of this one.

        Returns False if none can be closed.
        """
        own = 0 if uid is None else self._users[uid]
        return any(
            self._evict(other, why)
            for other, count in self._users.most_common()
            if count > own or other == uid
        )

    def took(self, size: int) -> None:
        """Add bytes that are now held; at the limit, close the connections that hold most.

        Released bytes are not subtracted. Instead, all bytes are counted when the sum exceeds the
        limit. A quarter is then freed, so that this is rare.
        """
        self._held += size
        if self._held <= MAX_HELD:
            return
        held = {evictable: evictable.held for evictable in self._connections_open}
        self._held = sum(held.values())
        for evictable in sorted(held, key=held.__getitem__, reverse=True):
            if self._held <= MAX_HELD * 3 // 4:
                break
            evictable.cut(
                f"all connections hold over {MAX_HELD * 3 // 4} bytes, and it has the most"
            )
            self._held -= held[evictable]

    def _evict(self, uid: int, why: str) -> bool:
        evictable = next(iter(self._resting.get(uid, ())), None)
        if evictable is None:
            return False
        self.work(evictable)
        evictable.cut(why)
        return True
