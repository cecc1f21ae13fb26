# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may call which methods.

Pure: a peer is numbers, and the names of `[access]` have become numbers before they come here.
"""

from __future__ import annotations

from enum import Enum, auto

import msgspec

from hookd.errors import PermissionDenied
from hookd.server.transport.peer import Peer


class Access(Enum):
    """Who may call a method."""

    SUBMIT = auto()  # the callers in [access] submit
    MANAGE = auto()  # the callers in [access] manage
    TELL = auto()  # both: the method changes nothing


class Principals(msgspec.Struct, frozen=True):
    """A list of `[access]` as numbers."""

    uids: frozenset[int]
    gids: frozenset[int]

    def include(self, peer: Peer) -> bool:
        """Return whether the peer is one of these users or in one of these groups."""
        return peer.uid in self.uids or not self.gids.isdisjoint(peer.groups)


class AccessPolicy(msgspec.Struct, frozen=True):
    """Decides who may call which methods. The daemon's own user may call all of them."""

    own_uid: int
    submit: Principals
    manage: Principals

    def knows(self, peer: Peer) -> bool:
        """Return whether the peer may call any method at all."""
        return peer.uid == self.own_uid or self.submit.include(peer) or self.manage.include(peer)

    def admit(self, peer: Peer, access: Access) -> None:
        """Raise PermissionDenied unless the peer may call methods of this access."""
        match access:
            case _ if peer.uid == self.own_uid:
                allowed = True
            case Access.SUBMIT:
                allowed = self.submit.include(peer)
            case Access.MANAGE:
                allowed = self.manage.include(peer)
            case Access.TELL:
                allowed = self.knows(peer)
        if not allowed:
            raise PermissionDenied
