# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may come in at the socket: `python -m tests.attack.weapons NAME SOCKET` does one of them.

Each ends by itself, in some seconds, and fails where hookd answers otherwise than it should.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.attack.rubbish import ANSWERED, CLOSED
from tests.support.wire import JOB, Wire

MAX_MESSAGE = 1024 * 1024  # as hookd(8) says
PATIENCE = 1.0  # seconds without a byte being taken, after which hookd is taken to be waiting
MANAGER = "io.hookd.Manager."


def call(method: str, **parameters: object) -> bytes:
    """Return one call as bytes, NUL included."""
    return json.dumps({"method": method, "parameters": parameters}).encode() + b"\0"


STATUS = call(MANAGER + "GetStatus")


def connect(path: Path) -> socket.socket:
    """Return a connection, also where the kernel lets us wait because its backlog is full."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(path))
    connection.settimeout(30)
    return connection


def hung_up(connection: socket.socket) -> bool:
    """Return whether the connection is ended by hookd, in time, whatever it said before."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return True  # a timeout raises


def push(connection: socket.socket, data: bytes) -> int:
    """Send until all is sent, hookd waits, or it has hung up; return the bytes it took."""
    connection.setblocking(False)
    sent = 0
    view = memoryview(data)
    while sent < len(data) and select.select([], [connection], [], PATIENCE)[1]:
        try:
            sent += connection.send(view[sent : sent + 65536])
        except BlockingIOError:
            continue
        except ConnectionError:
            break
    connection.settimeout(30)
    return sent


@contextlib.contextmanager
def crowd(path: Path, count: int) -> Iterator[list[socket.socket]]:
    """Return so many connections, closed afterwards."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections: list[socket.socket] = []
    try:
        for _ in range(count):
            connections.append(connect(path))
        yield connections
    finally:
        for connection in connections:
            connection.close()


def no_end(path: Path) -> None:
    """16 MB without a NUL: cut off after the first."""
    with connect(path) as connection:
        assert push(connection, b" " * (16 << 20)) < 3 << 20
        assert hung_up(connection)


def only_ends(path: Path) -> None:
    """4 MB of NULs: the first empty message is one too many."""
    with connect(path) as connection:
        push(connection, bytes(4 << 20))
        assert hung_up(connection)


def one_byte_over(path: Path) -> None:
    """A valid call at the limit is answered; with one space more its connection is closed."""
    for size in (MAX_MESSAGE, MAX_MESSAGE + 1):
        with Wire(path) as wire, contextlib.suppress(ConnectionError):
            wire.socket.sendall(STATUS[:-1].ljust(size) + b"\0")
            assert bool(wire.receive()) == (size == MAX_MESSAGE)


def pipelined(path: Path) -> None:
    """300,000 calls whose answers are never read: hookd waits, holding little."""
    for one in (call("org.varlink.service.GetInfo"), STATUS, call("x.y")):
        with connect(path) as connection:
            assert push(connection, one * 300_000) < 4 << 20


def large_replies(path: Path) -> None:
    """2,000 replies of a megabyte, from one connection and from a hundred, never read."""
    with Wire(path) as wire:
        for _ in range(10):
            wire.start(profile="x" * 120_000)
    page = call(MANAGER + "ListJobs", limit=1000)
    with connect(path) as connection:
        push(connection, page * 2000)
    with crowd(path, 100) as connections:
        for connection in connections:
            connection.sendall(page * 20)
        time.sleep(PATIENCE)


def three_thousand(path: Path) -> None:
    """3,000 connections at once, all of which stay."""
    with crowd(path, 3000):
        time.sleep(PATIENCE)


def half_open(path: Path) -> None:
    """1,000 connections that have said half of something."""
    with crowd(path, 1000) as connections:
        for connection in connections:
            with contextlib.suppress(ConnectionError):
                connection.sendall(STATUS[: len(STATUS) // 2])
        time.sleep(PATIENCE)


def half_open_large(path: Path) -> None:
    """1,000 connections that have sent nearly a megabyte of a message each."""
    half = b" " * (MAX_MESSAGE - 1)
    with crowd(path, 1000) as connections:
        for connection in connections:
            push(connection, half)


def all_at_once(path: Path) -> None:
    """700 connections that each ask 50 times and read nothing meanwhile."""
    with crowd(path, 700) as connections:
        for connection in connections:
            with contextlib.suppress(ConnectionError):
                connection.sendall(STATUS * 50)
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)
            assert hung_up(connection)


def large_calls(path: Path) -> None:
    """300 starts of half a megabyte at the same moment."""
    attributes = {str(n): "x" * 2500 for n in range(100)}
    start = call("io.hookd.Jobs.StartJob", **JOB, attributes=attributes)
    start = start[:-1].ljust(MAX_MESSAGE - 1) + b"\0"
    with crowd(path, 300) as connections:
        for connection in connections:
            push(connection, start)
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)
            assert hung_up(connection)


def byte_by_byte(path: Path) -> None:
    """One byte a second: what is not whole after half a minute is not waited for."""
    with connect(path) as connection:
        began = time.monotonic()
        for byte in STATUS:
            try:
                connection.sendall(bytes([byte]))
            except ConnectionError:
                break
            if select.select([connection], [], [], 1.0)[0]:
                assert hung_up(connection)
                break
        assert 29 < time.monotonic() - began < 40


def rubbish(path: Path) -> None:
    """What is no call closes the connection, what is no good call is answered with an error."""
    for message in CLOSED:
        with connect(path) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(message + b"\0")
            assert hung_up(connection)
    with Wire(path) as wire:
        for message in ANSWERED:
            wire.socket.sendall(message + b"\0")
            answer = wire.receive()
            assert answer["error"] == "org.varlink.service.InvalidParameter", (message, answer)


def subscribers(path: Path) -> None:
    """100 subscribers, some of whom read nothing, vanish together; three times."""
    for _ in range(3):
        with crowd(path, 100) as connections:
            for connection in connections:
                ask = {"method": MANAGER + "Subscribe", "parameters": {"since": 0}, "more": True}
                connection.sendall(json.dumps(ask).encode() + b"\0")
                assert connection.recv(65536)
            with Wire(path) as wire:
                for _ in range(300):
                    wire.end(job_id=wire.start()["job_id"])
        with Wire(path) as wire:
            while wire.status()["connections"] > 20:
                time.sleep(0.02)


def hang_up(path: Path) -> None:
    """50 callers who leave while they wait for a hook to end."""
    for n in range(50):
        with Wire(path) as wire:
            wire.send("StartJob", JOB | {"profile": "nap", "wait": True}, more=n % 2 == 0)
            time.sleep(0.01)


def descriptors(path: Path) -> None:
    """10,000 descriptors that are passed along: hookd has none of them afterwards."""
    for _ in range(200):
        read, write = os.pipe()
        with connect(path) as connection:
            socket.send_fds(connection, [STATUS], [write] * 50)
            os.close(write)
            assert connection.recv(65536)
            assert select.select([read], [], [], 5)[0], "hookd holds a descriptor of ours"
        os.close(read)


def connect_and_close(path: Path) -> None:
    """10,000 connections that say nothing."""
    for _ in range(10_000):
        connect(path).close()


def expensive_queries(path: Path) -> None:
    """Looking through a million jobs for one that there is not, from ten connections."""
    until = time.monotonic() + 5
    ask = call(MANAGER + "ListJobs", user="nobody at all")
    with crowd(path, 10) as connections:
        for connection in connections:
            connection.sendall(ask)
        while time.monotonic() < until:
            for ready in select.select(connections, [], [], 1)[0]:
                assert ready.recv(65536)
                ready.sendall(ask)


WEAPONS: dict[str, Callable[[Path], None]] = {
    weapon.__name__: weapon
    for weapon in (
        no_end, only_ends, one_byte_over, pipelined, large_replies, three_thousand, half_open,
        half_open_large, all_at_once, large_calls, byte_by_byte, rubbish, subscribers, hang_up,
        descriptors, connect_and_close, expensive_queries,
    )
}  # fmt: skip

if __name__ == "__main__":
    faulthandler.dump_traceback_later(45)
    WEAPONS[sys.argv[1]](Path(sys.argv[2]))
