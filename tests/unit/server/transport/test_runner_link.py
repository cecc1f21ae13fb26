# SPDX-License-Identifier: LGPL-2.1-or-later
"""How often a runner is asked for that does not serve: each connection starts it once more."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from hookd.link import Welcome, encode
from hookd.server.transport import runner_link
from hookd.server.transport.runner_link import RunnerLink

WELCOME = encode([Welcome("instance", "digest", [], [], [], [], "1", 0, more=False, unusable={})])
MOST = 6


@pytest.mark.parametrize(("said", "connections"), [(b"", 3), (WELCOME, MOST)])
def test_a_runner_that_ends_without_a_word_is_asked_less_and_less_often(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, said: bytes, connections: int
) -> None:
    monkeypatch.setattr(runner_link, "RETRY_SEC", (0.001, 0.001))
    monkeypatch.setattr(runner_link, "UNSERVED_SEC", (0.001, 0.001, 0.001, 1000.0))

    async def count() -> int:
        served, enough = 0, asyncio.Event()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal served
            served += 1
            writer.write(said)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()
            if served == MOST:
                enough.set()

        server = await asyncio.start_unix_server(serve, scratch / "runner.sock")
        link = RunnerLink(lambda _: None, lambda _: None)
        link.connect(scratch / "runner.sock")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(enough.wait(), 2 if connections < MOST else 20)
        await link.close(0)
        server.close()
        return served

    assert asyncio.run(count()) == connections
