# SPDX-License-Identifier: LGPL-2.1-or-later
"""Frames between server and runner: whole, in pieces, too large, and rubbish."""

from __future__ import annotations

import contextlib
import struct
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookd.link import (
    MAX_FRAME,
    Adopt,
    Ask,
    Belongs,
    Cancel,
    Ended,
    FrameReader,
    List,
    Message,
    Printed,
    Reload,
    Reloaded,
    RunnerFaults,
    Running,
    Settled,
    Start,
    Started,
    Usability,
    Welcome,
    encode,
)
from hookd.model import INT_MAX, Event, Outcome, Phase, Receipt, Result

EVENT = Event(
    phase=Phase.END,
    job_id=INT_MAX,
    profile="p\n🦔",
    user="",
    client_ip="::1",
    client_build_no="1",
    attributes={"k": "v"},
    outcome=Outcome.LOST,
    test=True,
)
RECEIPT = Receipt(result=Result.SPAWN_FAILED, reason="no such file", ended_usec=5, memory_peak=6)
EACH: list[Message] = [
    Start(1, "h", 2, EVENT),
    Cancel(1, "why"),
    Settled([1, 2, 3]),
    Reload(),
    List(),
    RunnerFaults(3),
    Welcome("i", "d", ["e"], ["n"], [Running(1, None), Running(2, 5)], [Ended(3, RECEIPT)]),
    Reloaded("d", [], ["n"]),
    Reloaded("d", [], ["n"], {"hook": "why"}, True),
    Adopt("d"),
    Usability("hook", "why"),
    Usability("hook", None),
    Started(1, 99),
    Printed(1, "stdout", "é\n"),
    Ended(1, RECEIPT),
    Ask(7),
    Belongs(7, None),
]


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def test_every_message_comes_back_as_it_was() -> None:
    assert {type(message) for message in EACH} == set(get_args(Message))
    assert FrameReader().feed(encode(EACH)) == EACH
    assert FrameReader().feed(b"".join(encode([message]) for message in EACH)) == EACH
    assert FrameReader().feed(encode([])) == []


def test_split_at_every_byte() -> None:
    stream = encode(EACH[:3]) + encode(EACH[3:])
    for at in range(len(stream) + 1):
        reader = FrameReader()
        assert reader.feed(stream[:at]) + reader.feed(stream[at:]) == EACH


def test_byte_by_byte() -> None:
    reader = FrameReader()
    stream = encode(EACH) + encode(EACH)
    found = [message for byte in stream for message in reader.feed(bytes([byte]))]
    assert found == EACH * 2


def test_an_event_larger_than_any_packet() -> None:
    long = msgspec.structs.replace(EVENT, profile="x" * 120_000, user="é" * 60_000)
    assert FrameReader().feed(encode([Start(1, "h", 1, long)])) == [Start(1, "h", 1, long)]


def test_a_frame_that_is_too_large_is_refused_by_its_head() -> None:
    assert FrameReader().feed(struct.pack(">I", MAX_FRAME)) == []
    with pytest.raises(ValueError, match=f"{MAX_FRAME + 1} bytes; the largest allowed is"):
        FrameReader().feed(struct.pack(">I", MAX_FRAME + 1))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91\x91\xa3Foo",
        b"\x91\x93\xa6Cancel\x01\xa1\xff",
        msgspec.msgpack.encode([["Cancel", "1", "why"]]),
        msgspec.msgpack.encode([["Running", 1, 2]]),
        msgspec.msgpack.encode({"a": 1}),
        encode(EACH)[4:] + b"x",
        b"\x91\x94\xa6Cancel\x01\xa1x" + b"\x91" * 100_000 + b"\x01",
    ],
)
def test_rubbish_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        FrameReader().feed(frame(body))


@given(st.binary(max_size=60))
def test_messages_or_a_value_error_whatever_the_bytes(data: bytes) -> None:
    for stream in (data, frame(data)):
        with contextlib.suppress(ValueError):
            assert isinstance(FrameReader().feed(stream), list)
