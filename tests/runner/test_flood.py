# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a server sends is bounded: it freezes nobody, and leaves nothing that is too large."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hookd.link import (
    FULL_FRAME,
    MAX_FRAME,
    Ask,
    FrameReader,
    Message,
    Reload,
    Start,
    Welcome,
    encode_all,
)
from hookd.model import Receipt, Result
from hookd.runner import undelivered
from hookd.runner.runner import MOST_KEPT, PART
from hookd.system.records import PEER_CLOSED
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.runner import ANSWER_WITHIN, Runner, event

RECEIPT = Receipt(result=Result.FAILED, exit_status=7, ended_usec=1, last_line="x" * 100)


def frames(messages: list[Message]) -> bytes:
    """Return these messages as one side writes them."""
    return b"".join(encode_all(messages, lambda message, error: None))


@pytest.fixture
def listening(scratch: Path) -> Iterator[Runner]:
    """Return a runner that listens at `runner.sock`."""
    runner = Runner(scratch)
    runner.start("--socket", str(scratch / "runner.sock"))
    eventually((scratch / "runner.sock").exists, ANSWER_WITHIN)
    yield runner
    runner.terminate()
    assert runner.process.wait(ANSWER_WITHIN) == 0, runner.said()


def connect(runner: Runner) -> socket.socket:
    """Return a connection to it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(ANSWER_WITHIN)
    sock.connect(str(runner.directory / "runner.sock"))
    return sock


def welcome(sock: socket.socket) -> list[Welcome]:
    """Return the parts of the Welcome that comes first."""
    reader = FrameReader()
    parts: list[Message] = []
    while not parts or (isinstance(parts[-1], Welcome) and parts[-1].more):
        parts += reader.feed(sock.recv(1 << 20))
    return [part for part in parts if isinstance(part, Welcome)]


def drain(sock: socket.socket) -> None:
    """Read until the other side ends the connection."""
    while sock.recv(1 << 20):
        pass


def test_one_load_answers_many_reloads(runner: Runner, records: Records) -> None:
    runner.define("exit 0")
    began = time.monotonic()
    runner.send(*[Reload()] * 20_000)
    assert runner.run("hook").result is Result.SUCCESS
    assert time.monotonic() - began < 10.0
    loads = records.find(_PID=runner.process.pid)
    assert 1 < len([record for record in loads if "configured" in record["MESSAGE"]]) < 10


def test_starts_that_nobody_asks_about_are_bounded_and_a_server_connects(
    listening: Runner,
) -> None:
    with connect(listening) as first:
        flood = [Start(n, "unknown", 1, event()) for n in range(1, 4 * MOST_KEPT)]
        reader = threading.Thread(target=drain, args=(first,))
        reader.start()
        first.sendall(frames([*flood]))
        first.shutdown(socket.SHUT_WR)
        reader.join(ANSWER_WITHIN)
        assert not reader.is_alive()
    with connect(listening) as second:
        parts = welcome(second)
    assert sum(len(part.ended) for part in parts) == MOST_KEPT
    assert max(len(part.ended) for part in parts) == PART
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]


def test_who_breaks_a_bound_is_named(listening: Runner, records: Records) -> None:
    with connect(listening) as sock:
        sock.sendall(struct.pack(">I", MAX_FRAME + 1))
        drain(sock)
    with connect(listening) as sock:
        assert welcome(sock)
    [record] = records.find(MESSAGE_ID=PEER_CLOSED.message_id)
    assert f"a frame of {MAX_FRAME + 1} bytes; the largest allowed" in record["MESSAGE"]


def test_frames_are_small_and_say_the_same() -> None:
    messages: list[Message] = [Start(n, "h" * 1000, 1, event()) for n in range(5000)]
    found = list(encode_all(messages, lambda message, error: None))
    assert len(found) > 1
    assert max(map(len, found)) <= FULL_FRAME + 2048
    assert FrameReader().feed(b"".join(found)) == messages
    many: list[Message] = [Ask(1)] * 100_000  # more than one array of MessagePack's counts
    assert FrameReader().feed(frames(many)) == many


def test_a_message_that_cannot_be_written_down_takes_no_other_with_it() -> None:
    told: list[Message] = []
    bad = Start(2, "\ud800", 1, event())
    [frame] = encode_all([Ask(1), bad, Ask(3)], lambda message, error: told.append(message))
    assert told == [bad]
    assert msgspec.msgpack.decode(frame[4:]) == [["Ask", 1], ["Ask", 3]]


def test_a_file_of_results_that_is_too_large_is_refused_by_its_size(tmp_path: Path) -> None:
    file = tmp_path / "untaken"
    undelivered.save(file, {3: RECEIPT})
    os.truncate(file, undelivered.MAX_FILE + 1)
    with pytest.raises(
        ValueError, match=f"found {undelivered.MAX_FILE + 1} bytes; allowed: at most"
    ):
        undelivered.load(file)
    file.unlink()
