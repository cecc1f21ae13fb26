# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the journal hears of peers that do what they may not: a line, not a flood."""

from __future__ import annotations

import time

from hookd.server.api.access import AccessPolicy
from hookd.server.transport.peer import Peer
from hookd.system.journal import Journal
from hookd.system.records import PEER_CLOSED, PEER_DENIED, RecordKind

EVERY_SEC = 1.0  # between two lines about one user: a journal is no log of attacks
MAX_USERS = 1000  # whose last line is remembered


class PeerLog:
    """At most one line a second about each user."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last: dict[int, float] = {}

    def known(self, peer: Peer, access_policy: AccessPolicy) -> bool:
        """Return whether a peer may call anything at all; say so where it may not."""
        known = access_policy.knows(peer)
        if not known:
            self.denied(peer, "everything")
        return known

    def denied(self, peer: Peer, what: str) -> None:
        """Say that a peer asked for what it has no right to."""
        self._say(peer, PEER_DENIED, f"was denied {what[:100]}")

    def closed(self, peer: Peer, reason: str) -> None:
        """Say that a peer was cut off, and why."""
        self._say(peer, PEER_CLOSED, f"was cut off: {reason}")

    def _say(self, peer: Peer, kind: RecordKind, what: str) -> None:
        now = time.monotonic()
        if now - self._last.get(peer.uid, -EVERY_SEC) < EVERY_SEC:
            return
        if len(self._last) >= MAX_USERS:
            self._last.clear()
        self._last[peer.uid] = now
        detail = f"uid {peer.uid} (pid {peer.pid}) {what}"
        self._journal.send(kind, {"OBJECT_PID": peer.pid}, detail=detail)
