# SPDX-License-Identifier: LGPL-2.1-or-later
"""The load: many connections, on each one request after the other, in one cheap loop.

What speaks to hookd and to its peers is the same but for the protocol's words. The loop costs
ten to thirty microseconds a request, on the CPUs that are measured.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time
from pathlib import Path
from typing import Any, Protocol

WARM_UP = 0.3  # seconds that are not counted
STUCK_AFTER = 60.0  # seconds without any reply


class Talk(Protocol):
    """The words of a protocol."""

    def connect(self) -> socket.socket:
        """Return a new connection."""
        ...

    def whole(self, data: bytes) -> bool:
        """Return whether this is a whole reply."""
        ...

    def next(self, reply: bytes) -> bytes:
        """Return the request that follows a reply, b"": the first. Raises AssertionError."""
        ...


def rate(talk: Talk, connections: int, seconds: float) -> float:
    """Return requests a second that were answered as they should be."""
    with select.epoll() as epoll:
        waiting: dict[int, _Connection] = {}
        for _ in range(connections):
            connection = _Connection(talk)
            waiting[connection.sock.fileno()] = connection
            epoll.register(connection.sock.fileno(), select.EPOLLIN)
        began = time.perf_counter()
        warm, end = began + WARM_UP, began + WARM_UP + seconds
        counted, ended = 0, 0.0
        while waiting:
            ready = epoll.poll(STUCK_AFTER)
            assert ready, "no reply any more"
            now = time.perf_counter()
            for fd, _ in ready:
                connection = waiting[fd]
                if not connection.answered():
                    continue
                counted += warm <= now < end
                if now < end:
                    ended = now
                    connection.ask()
                else:  # all are heard to the end, so that nothing goes on beside the next one
                    connection.talk.next(connection.reply)
                    del waiting[fd]
                    epoll.unregister(fd)
                    connection.sock.close()
    return counted / (ended - warm)


class _Connection:
    """One connection, with one request under way."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.sock = talk.connect()
        self.reply = b""
        self.ask()

    def ask(self) -> None:
        """Send what follows the last reply."""
        request = self.talk.next(self.reply)
        self.reply = b""
        self.sock.sendall(request)

    def answered(self) -> bool:
        """Read what is there; return whether the reply is whole."""
        data = self.sock.recv(65536)
        assert data, f"the connection was closed: {self.reply!r}"
        self.reply += data
        return self.talk.whole(self.reply)


def message(method: str, **parameters: Any) -> bytes:
    """Return a call of io.hookd.Jobs as it goes over the wire."""
    call = {"method": f"io.hookd.Jobs.{method}", "parameters": parameters}
    return json.dumps(call).encode() + b"\0"


def start_job(profile: str = "nightly", build_no: int = 563, wait: bool = False) -> bytes:
    """Return a call that starts a job."""
    return message(
        "StartJob", profile=profile, user="ann@example.com", client_ip="192.0.2.7",
        client_build_no=str(build_no), wait=wait,
    )  # fmt: skip


class Varlink:
    """hookd's words: a job's start, waited for where asked; with `ends` also its end."""

    _JOB = re.compile(rb'"job_id":(\d+)')

    def __init__(self, path: Path, profile: str = "nightly", *, wait: bool, ends: bool) -> None:
        self.path = path
        self._ends = ends
        self._wait = wait
        self._start = start_job(profile, wait=wait)
        end = message("EndJob", job_id=-1, file_count=7, byte_count=1234, wait=wait)
        self._before_id, self._after_id = end.split(b"-1")
        self._open: set[bytes] = set()

    def connect(self) -> socket.socket:
        """Return a new connection."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(self.path))
        return sock

    def whole(self, data: bytes) -> bool:
        """Return whether this is a whole reply."""
        return data.endswith(b"\0")

    def next(self, reply: bytes) -> bytes:
        """Return the request that follows a reply."""
        if not reply:
            return self._start
        assert (b'"result":"success"' if self._wait else b'"job_id"') in reply, reply
        if not self._ends:
            return self._start
        found = self._JOB.search(reply)
        assert found, reply
        job = found[1]
        if job in self._open:
            self._open.remove(job)
            return self._start
        self._open.add(job)
        return self._before_id + job + self._after_id


class Http:
    """The words of a webhook."""

    _LENGTH = re.compile(rb"(?i)content-length: *(\d+)\r\n")

    def __init__(self, port: int, path: str) -> None:
        self._address = ("127.0.0.1", port)
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._usual = 0  # bytes of a whole reply: the same each time

    def connect(self) -> socket.socket:
        """Return a new connection, kept alive as HTTP/1.1 has it."""
        sock = socket.create_connection(self._address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def whole(self, data: bytes) -> bool:
        """Return whether this is a whole reply."""
        if len(data) != self._usual:
            head, found, body = data.partition(b"\r\n\r\n")
            length = self._LENGTH.search(head + b"\r\n")
            if not found or length is None or len(body) != int(length[1]):
                return False
            self._usual = len(data)
        return True

    def next(self, reply: bytes) -> bytes:
        """Return the request that follows a reply."""
        assert not reply or reply.startswith(b"HTTP/1.1 200"), reply
        return self._request
