# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ends a connection that does not go on, and what happens without descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hookd.server.api.access import Access
from hookd.server.api.methods import access
from hookd.server.transport import connection
from hookd.server.transport.connection import Connection, HungUp
from hookd.server.transport.listener import Listener
from hookd.server.transport.peer import Peer
from hookd.server.transport.varlink import Call
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.wire import Wire

CALL = b'{"method":"io.hookd.Jobs.StartJob"}\0'
SHORTLY = 0.3  # seconds, where hookd waits for half a minute

_asked: list[str] = []


@pytest.fixture
def serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Callable[[socket.socket], None]], list[str]]]:
    """Return what lets a client talk to a listener, and returns why that cut it off."""
    monkeypatch.setattr(connection, "UNFINISHED_SEC", SHORTLY)
    monkeypatch.setattr(connection, "STALLED_SEC", SHORTLY)

    async def answer(session: Connection, call: Call) -> Any:
        if access(call.method) is Access.TELL and session.closed.done():
            raise HungUp  # as the table of methods does, see tests/unit/server/api
        _asked.append(call.method)
        if call.method == "io.hookd.Jobs.EndJob":
            await session.closed
        return {"x": "y" * 1000}

    async def run(client: Callable[[socket.socket], None]) -> list[str]:
        why: list[str] = []
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(str(tmp_path / "s"))

        def report(peer: Peer, reason: str) -> None:
            why.append(reason)

        listening = Listener(answer, lambda peer: True, report, lambda session: None)
        listening.start(bound)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(tmp_path / "s"))
            connection.settimeout(10)
            await asyncio.to_thread(client, connection)
        async with asyncio.timeout(10):
            while len(listening):  # what it sent before it left is still done
                await asyncio.sleep(0.01)
        await listening.close(5)
        return why

    yield lambda client: asyncio.run(run(client))


Serve = Callable[[Callable[[socket.socket], None]], list[str]]


def until_hung_up(connection: socket.socket) -> bytes:
    """Return all that comes before hookd hangs up."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            received += data
    return received


def test_half_a_message_is_not_waited_for_without_end(serve: Serve) -> None:
    def client(connection: socket.socket) -> None:
        connection.sendall(CALL + CALL[:-1])
        assert until_hung_up(connection).count(b"\0") == 1

    assert serve(client) == ["half a message for 0 s"]


def test_a_connection_may_be_silent(serve: Serve) -> None:
    def client(connection: socket.socket) -> None:
        connection.settimeout(3 * SHORTLY)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.sendall(CALL)
        assert connection.recv(65536)

    assert serve(client) == []


def test_a_reader_may_be_slow_but_not_stand_still(serve: Serve) -> None:
    def slow(connection: socket.socket) -> None:
        connection.sendall(CALL * 1500)
        connection.shutdown(socket.SHUT_WR)
        answers = 0
        while data := connection.recv(65536):
            answers += data.count(b"\0")
        assert answers == 1500

    assert serve(slow) == []


def test_a_reader_that_stands_still_is_left(serve: Serve) -> None:
    def still(connection: socket.socket) -> None:
        connection.sendall(CALL * 1500)
        with pytest.raises(ConnectionError):
            while True:
                connection.send(CALL)

    assert serve(still) == ["it does not read its answers"]


def test_who_is_gone_is_not_told_but_what_it_asked_is_done(serve: Serve) -> None:
    def gone(connection: socket.socket) -> None:
        told = b'{"method":"io.hookd.Manager.ListJobs"}\0' * 300
        connection.sendall(b'{"method":"io.hookd.Jobs.EndJob"}\0' + told + CALL)

    before = len(_asked)
    assert serve(gone) == []
    assert _asked[before:] == ["io.hookd.Jobs.EndJob", "io.hookd.Jobs.StartJob"]


def test_without_descriptors_hookd_goes_on_and_recovers(daemon: Daemon, records: Records) -> None:
    daemon.prefix = ["prlimit", "--nofile=24:24"]
    daemon.start()
    with Wire(daemon.socket) as innocent, contextlib.ExitStack() as crowd:
        assert innocent.status()["healthy"]  # the database is open for reading, too
        assert innocent.start()["job_id"] == 1
        for n in range(60):
            crowd.enter_context(Wire(daemon.socket))
            assert innocent.end(job_id=n + 1)["job_id"] == n + 1
            assert innocent.start()["job_id"] == n + 2
        with Wire(daemon.socket) as newcomer:
            assert newcomer.status()["healthy"]
        eventually(
            lambda: "no descriptor is left" in repr(records.find(SYSLOG_IDENTIFIER="hookd"))
        )
    with Wire(daemon.socket) as later:
        eventually(lambda: later.status()["connections"] == 1)
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.said()


def test_a_hundred_subscribers_and_one_more(daemon: Daemon) -> None:
    daemon.start()
    subscribe = "io.hookd.Manager.Subscribe"
    with contextlib.ExitStack() as crowd:
        for _ in range(100):
            wire = crowd.enter_context(Wire(daemon.socket))
            wire.send(subscribe, more=True)
            assert wire.receive()["parameters"]["notices"] == []
        with Wire(daemon.socket) as one_more:
            one_more.send(subscribe, more=True)
            assert one_more.receive() == {
                "error": "io.hookd.Manager.TooManySubscribers", "parameters": {"limit": 100},
            }  # fmt: skip
    with Wire(daemon.socket) as later:
        eventually(lambda: later.status()["connections"] == 1)
        later.send(subscribe, more=True)
        assert later.receive()["continues"]
