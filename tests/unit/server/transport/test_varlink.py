# SPDX-License-Identifier: LGPL-2.1-or-later
"""Varlink's bytes: whole, in pieces, several at once, and everything that is not Varlink."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hookd.errors import InvalidParameter, NoSuchJob, ProtocolError
from hookd.jobs_api import EndJobReply
from hookd.model import HookRun, Phase, RunState
from hookd.server.transport.varlink import (
    MAX_MESSAGE,
    Call,
    CallReader,
    decode_call,
    encode_error,
    encode_reply,
)


def call(method: str, parameters: Any = None, **envelope: Any) -> bytes:
    message = {"method": method, **envelope}
    if parameters is not None:
        message["parameters"] = parameters
    return json.dumps(message).encode()


def messages(reader: CallReader) -> list[bytes]:
    return list(iter(reader.next, None))


VECTORS = [
    b'{"method":"org.varlink.service.GetInfo"}',
    b' { "method" : "io.hookd.Jobs.GetJob" , "parameters" : { "job_id" : 1 } } ',
    '{"method":"io.hookd.Jobs.StartJob","parameters":{"profile":"🦔 \\u00e9\\n"}}'.encode(),
    b"{}",
    b"not json at all",
    b"",
]


def test_messages_in_one_read() -> None:
    reader = CallReader()
    reader.feed(b"\0".join(VECTORS) + b"\0")
    assert messages(reader) == VECTORS
    assert not reader.unfinished


def test_messages_byte_by_byte() -> None:
    reader = CallReader()
    found = []
    for byte in b"\0".join(VECTORS) + b"\0":
        reader.feed(bytes([byte]))
        found += messages(reader)
    assert found == VECTORS


@pytest.mark.parametrize("at", range(60))
def test_messages_split_anywhere_with_a_beginning_behind_them(at: int) -> None:
    reader = CallReader()
    stream = VECTORS[0] + b"\0" + VECTORS[3] + b"\0{"
    reader.feed(stream[:at])
    found = messages(reader)
    reader.feed(stream[at:])
    assert found + messages(reader) == [VECTORS[0], VECTORS[3]]
    assert (reader.unfinished, reader.held) == (True, 1)


def test_the_longest_message_and_one_byte_more() -> None:
    for pieces in (1, 2, 1000):
        reader = CallReader()
        step = -(-MAX_MESSAGE // pieces)
        for at in range(0, MAX_MESSAGE, step):
            reader.feed(b"x" * min(step, MAX_MESSAGE - at))
            assert reader.next() is None
        assert reader.held == MAX_MESSAGE
        reader.feed(b"\0")
        assert reader.next() == b"x" * MAX_MESSAGE
    for tail in (b"x", b"x\0"):
        reader.feed(b"x" * MAX_MESSAGE + tail)
        with pytest.raises(ProtocolError, match="a message is longer than 1048576 bytes"):
            reader.next()


def test_an_empty_message_before_the_longest() -> None:
    reader = CallReader()
    reader.feed(b"\0" + b"x" * MAX_MESSAGE + b"\0")
    assert messages(reader) == [b"", b"x" * MAX_MESSAGE]


def test_the_envelope() -> None:
    whole = decode_call(call("a.b.C", {"x": 1}, more=True, upgrade=False, extra=[1, {}]))
    assert whole == Call("a.b.C", msgspec.Raw(b'{"x": 1}'), more=True, upgrade=False)
    assert decode_call(b'{"method":""}').method == ""
    assert decode_call(call("a.B", oneway=True)).oneway is True


def test_a_call_that_excludes_itself() -> None:
    with pytest.raises(ProtocolError) as raised:
        decode_call(call("a.B", oneway=True, more=True))
    assert str(raised.value) == "not a Varlink call: oneway and more exclude each other"


@pytest.mark.parametrize(
    "message",
    [
        b"", b" ", b"{}", b"[]", b"null", b"5", b'"x"', b'{"method":1}', b'{"method":null}',
        b'{"method":"a.B"', b'{"method":"a.B"} {}', b'{"method":"a.B",}', b"\xef\xbb\xbf{}",
        b'{"method":"a.B","more":1}', b'{"method":"a.B","oneway":"true"}',
        b'{"method":"a.B","more":true,"oneway":true}', b'{"method":"\\ud800"}',
        b'{"method":"\xff"}',
        b"{'method':'a.B'}", b'{"method":"a.B","x":NaN}', b'{"method":"a.B","x":01}',
        b'{"method":"a.B","parameters":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"method":"a.B","x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"method":"a\nB"}',
    ],
)  # fmt: skip
def test_what_is_no_call(message: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a Varlink call: "):
        decode_call(message)


@given(st.binary(max_size=80))
@example(b'{"method":"io.hookd.Jobs.GetJob","parameters":{"job_id":' + b"9" * 5000 + b"}}")
def test_whatever_the_bytes(message: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode_call(message), Call)


def test_replies_and_errors_as_bytes() -> None:
    run = HookRun(run_id=1, hook="h", phase=Phase.END, attempt=1, state=RunState.WAITING)
    reply = encode_reply(EndJobReply(job_id=7, duplicate=False, hooks=[run]))
    assert reply.endswith(b"\0")
    assert reply.count(b"\0") == 1
    assert json.loads(reply[:-1])["parameters"]["hooks"][0]["state"] == "waiting"
    assert encode_reply({"a": "\0é\n"}, True) == (
        '{"parameters":{"a":"\\u0000é\\n"},"continues":true}'.encode() + b"\0"
    )
    assert encode_reply({}) == b'{"parameters":{}}\0'
    assert encode_error(NoSuchJob(5)) == (
        b'{"error":"io.hookd.Jobs.NoSuchJob","parameters":{"job_id":5,"server_job_id":null}}\0'
    )
    assert encode_error(InvalidParameter("a", "b")) == (
        b'{"error":"org.varlink.service.InvalidParameter",'
        b'"parameters":{"parameter":"a","message":"a: b"}}\0'
    )


@given(
    st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\0", b"")), max_size=5), st.data()
)
def test_messages_in_any_pieces(wanted: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(message + b"\0" for message in wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    reader = CallReader()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[begin:end])
        found += messages(reader)
    assert found == wanted
    assert not reader.unfinished
