# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may call which methods."""

from __future__ import annotations

import pytest

from hookd.errors import PermissionDenied
from hookd.server.api.access import AccessPolicy, Principals
from hookd.server.api.methods import METHODS, access
from hookd.server.transport.peer import Peer

OWN, SUBMITTER, MANAGER, BOTH, STRANGER = (
    Peer(1, 990, frozenset()),
    Peer(1, 1000, frozenset({50})),
    Peer(1, 0, frozenset({0})),
    Peer(1, 0, frozenset({0, 50})),
    Peer(1, 1001, frozenset({51})),
)
GATEKEEPER = AccessPolicy(
    own_uid=990,
    submit=Principals(frozenset({1002}), frozenset({50})),
    manage=Principals(frozenset({0}), frozenset({60})),
)

SUBMITS = {f"io.hookd.Jobs.{name}" for name in ("StartJob", "EndJob", "ServerStarted")}
CHANGES = {f"io.hookd.Manager.{n}" for n in ("Reload", "Cancel", "TestHook", "Replay", "Resume")}
TELLS = {
    "io.hookd.Jobs.GetJob", "org.varlink.service.GetInfo",
    "org.varlink.service.GetInterfaceDescription",
} | {
    f"io.hookd.Manager.{name}"
    for name in ("GetStatus", "ListJobs", "ListHooks", "Explain", "Subscribe", "GetMetrics")
}  # fmt: skip


@pytest.mark.parametrize(
    ("peer", "methods"),
    [
        (OWN, SUBMITS | CHANGES | TELLS),
        (SUBMITTER, SUBMITS | TELLS),
        (MANAGER, CHANGES | TELLS),
        (BOTH, SUBMITS | CHANGES | TELLS),
        (STRANGER, set()),
        (Peer(1, 1002, frozenset()), SUBMITS | TELLS),
        (Peer(1, 1001, frozenset({60})), CHANGES | TELLS),
        (Peer(1, 50, frozenset({1002, 990})), set()),  # a group is no user
    ],
)
def test_who_may_call_what(peer: Peer, methods: set[str]) -> None:
    assert set(METHODS) == SUBMITS | CHANGES | TELLS
    admitted = set()
    for method in METHODS:
        try:
            GATEKEEPER.admit(peer, access(method))
            admitted.add(method)
        except PermissionDenied as e:
            assert e.parameters() == {}
    assert admitted == methods
    assert GATEKEEPER.knows(peer) == bool(methods)


def test_a_stranger_does_not_learn_which_methods_there_are() -> None:
    for method in ("", "io.hookd.Jobs.Nonsense", "x.y"):
        with pytest.raises(PermissionDenied):
            GATEKEEPER.admit(STRANGER, access(method))
        GATEKEEPER.admit(MANAGER, access(method))
