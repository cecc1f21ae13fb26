# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who is at the other end of a connection, as the kernel says."""

from __future__ import annotations

import msgspec


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end, as the kernel says (SO_PEERCRED, SO_PEERGROUPS: unix(7))."""

    pid: int
    uid: int
    groups: frozenset[int]
