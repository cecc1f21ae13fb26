# SPDX-License-Identifier: LGPL-2.1-or-later
"""The peer of a connection."""

from __future__ import annotations

import msgspec


class Peer(msgspec.Struct, frozen=True):
    """The process at the other end, from SO_PEERCRED and SO_PEERGROUPS, see unix(7)."""

    pid: int
    uid: int
    groups: frozenset[int]
