# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records of peers that break a rule, at a limited rate."""

from __future__ import annotations

import time

from hookd.server.api.access import AccessPolicy
from hookd.server.transport.peer import Peer
from hookd.system.journal import Journal
from hookd.system.records import PEER_CLOSED, PEER_DENIED, RecordKind

EVERY_SEC = 1.0  # between two records about one user, so that attacks do not fill the journal
MAX_USERS = 1000  # users whose last record is remembered


class PeerLog:
    """Writes at most one record per second about each user."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last: dict[int, float] = {}

    def known(self, peer: Peer, access_policy: AccessPolicy) -> bool:
        """Return whether a peer may call any method; write a record if not."""
        known = access_policy.knows(peer)
        if not known:
            self.denied(peer, "everything")
        return known

    def denied(self, peer: Peer, what: str) -> None:
        """Record that a peer called a method without permission."""
        self._say(peer, PEER_DENIED, f"was denied {what[:100]}")

    def closed(self, peer: Peer, reason: str) -> None:
        """Record that a peer was disconnected, and why."""
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
