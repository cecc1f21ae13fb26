# SPDX-License-Identifier: LGPL-2.1-or-later
"""The fixture `listen`: a misbehaving peer for the client to meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.client.peer import Peer


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., Peer]]:
    """Return a function that starts a peer with the answers it is to give."""
    peers: list[Peer] = []

    def start(*answers: bytes | None) -> Peer:
        peers.append(Peer(tmp_path / "peer.sock", list(answers)))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()
