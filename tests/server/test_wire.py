# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bytes that docs/PROTOCOL.md shows are those that go over the wire."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from tests.support.daemon import Daemon

PAGE = (Path(__file__).parents[2] / "docs/PROTOCOL.md").read_text()
TALKS = re.findall(r"(?s)```wire\n(.*?)```", PAGE)
END = "(the end of the connection)"
VERIFY = 'command = "/bin/true"\nphases = ["end"]\n'


def same_always(line: str) -> str:
    """Return a line without what differs from run to run: times and memory."""
    line = re.sub(r'("memory_peak"):null', r"\1:0", line)  # not known of a small program
    return re.sub(r'("(?:\w+_usec|memory_peak)"):\d+', r"\1:0", line)


def talk(path: Path, lines: list[str]) -> list[str]:
    """Send what a client sends, on one connection; return that and what comes, line by line."""
    said: list[str] = []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(path))
        buffer = b""
        for line in lines:
            if line.startswith("> "):
                assert buffer == b"", "more came than is shown"
                sock.sendall(line[2:].encode().replace(rb"\0", b"\0"))
                said.append(line)
                continue
            while b"\0" not in buffer and (data := sock.recv(65536)):
                buffer += data
            message, end, buffer = buffer.partition(b"\0")
            said.append("< " + (message.decode() + r"\0" if end else END))
        sock.shutdown(socket.SHUT_WR)  # what still comes is more than is shown
        assert buffer + sock.recv(65536) == b""
    return said


def test_the_bytes_of_the_page(daemon: Daemon) -> None:
    daemon.hook("verify", VERIFY)
    daemon.start()
    assert len(TALKS) > 5
    for shown in TALKS:
        lines = shown.splitlines()
        assert list(map(same_always, talk(daemon.socket, lines))) == list(map(same_always, lines))
