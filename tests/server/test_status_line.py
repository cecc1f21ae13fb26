# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `systemctl status` shows: how things are, also when nothing changes any more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookd.system.sd_notify import STATUS_SEC, Notifier
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import Wire


@pytest.fixture
def lines(daemon: Daemon) -> Iterator[list[str]]:
    """Return the status lines of a daemon; all it says is passed on to where it is waited for."""
    path = daemon.directory / "manager"
    daemon.prefix = ["env", f"NOTIFY_SOCKET={path}"]
    found: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))

        def hear() -> None:
            while message := manager.recv(4096):
                found.extend(
                    line.removeprefix("STATUS=")
                    for line in message.decode().splitlines()
                    if line.startswith("STATUS=")
                )
                with contextlib.suppress(OSError):
                    manager.sendto(message, str(daemon.directory / "notify"))

        hearing = threading.Thread(target=hear)
        hearing.start()
        yield found
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(path))
        hearing.join()


def test_the_last_line_is_true(daemon: Daemon, lines: list[str]) -> None:
    go = daemon.directory / "go"
    wait = daemon.script("wait", f"until [ -e {go} ]; do sleep 0.1; done")
    daemon.hook("wait", f'command = "{wait}"\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        for _ in range(20):
            wire.start()
        eventually(lambda: any(line.startswith("1 hooks; 20 running") for line in lines))
        go.touch()
        eventually(lambda: lines[-1] == "1 hooks; 0 running, 0 waiting")
    assert len(lines) < 20, "a line for each change"
    assert daemon.stop() == 0
    eventually(lambda: lines[-1].startswith("finishing"))


def test_a_runner_that_is_on_its_way_is_no_problem(
    daemon: Daemon, runner: RunnerUnit, lines: list[str]
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as activated:
        activated.bind(str(runner.socket))
        activated.listen()
        daemon.start(*runner.arguments)
        with Wire(daemon.socket) as wire:
            status = wire.status()
            assert (status["healthy"], status["runner_connected"]) == (True, False)
            assert lines[-1] == "waiting for the runner"
    with Wire(daemon.socket) as wire:
        eventually(lambda: not wire.status()["healthy"])
        assert "the runner is not connected" in wire.status()["problems"][0]
    runner.start()
    with Wire(daemon.socket) as wire:
        eventually(lambda: wire.status()["healthy"])
        eventually(lambda: lines[-1] == "0 hooks; 0 running, 0 waiting")


def test_a_manager_that_does_not_read_stops_nobody(daemon: Daemon) -> None:
    path = daemon.directory / "manager"
    daemon.prefix = ["env", f"NOTIFY_SOCKET={path}"]
    daemon.hook("true", 'command = "/bin/true"\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        hearing = threading.Thread(target=lambda: _pass_on(daemon, manager.recv(4096)))
        hearing.start()
        daemon.start()
        hearing.join()
        _fill(path)
        with Wire(daemon.socket) as wire:
            began = time.monotonic()
            while time.monotonic() - began < 2 * STATUS_SEC:  # a line is due meanwhile
                assert wire.start(wait=True)["hooks"][0]["result"] == "success"
        assert daemon.stop() == 0


@pytest.fixture
def manager(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return a service manager's socket that this process is told of."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(scratch / "manager"))
        sock.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(scratch / "manager"))
        yield sock


@pytest.mark.parametrize("status", ["/srv/Ärger", "/srv/\u65e5\u672c: \U0001f4be"])
def test_a_line_may_have_any_character(manager: socket.socket, status: str) -> None:
    async def run() -> None:
        Notifier(lambda: status).ready()

    asyncio.run(run())
    assert manager.recv(4096) == f"READY=1\nSTATUS={status}".encode()


def test_what_is_said_once_waits_for_room(manager: socket.socket) -> None:
    """The manager reads on when the daemon has begun to wait: it sleeps, see proc_pid_stat(5)."""
    _fill(Path(manager.getsockname()))
    ours = f"/proc/{os.getpid()}/task/{threading.get_native_id()}/stat"
    found: list[bytes] = []

    def read() -> None:
        eventually(lambda: Path(ours).read_text().rpartition(") ")[2][0] == "S")
        while not found or b"READY=1" not in found[-1]:
            found.append(manager.recv(4096))

    async def run() -> None:
        reading = threading.Thread(target=read)
        reading.start()
        Notifier(lambda: "up").ready()
        await asyncio.to_thread(reading.join)

    asyncio.run(run())
    assert found[-1] == b"READY=1\nSTATUS=up"


def _fill(path: Path) -> None:
    """Take all the room that a socket has for messages."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(str(path))
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(b"X=1")


def _pass_on(daemon: Daemon, message: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.sendto(message, str(daemon.directory / "notify"))
