# SPDX-License-Identifier: LGPL-2.1-or-later
"""The shape of messages: names, depth and number of parts, at each limit and one past it."""

from __future__ import annotations

import json

import pytest

from hookd.errors import ProtocolError
from hookd.server.transport.json_limits import MAX_NESTING, MAX_PARTS, SHORT, check_shape
from hookd.server.transport.varlink import decode_call


@pytest.mark.parametrize(
    "message",
    [
        b'{"method":"a.B","method":"a.C"}',
        b'{"method":"a.B","parameters":{"x":1,"x":1}}',
        b'{"method":"a.B","parameters":{"job_id":1,"job_\\u0069d":2}}',
        b'{"method":"a.B","parameters":{"attributes":{"a":"b","c":"d","a":"b"}}}',
        b'{"method":"a.B","other":[{"":1e999,"":%s}]}' % (b"9" * 5000),
    ],
)
def test_a_name_twice_in_one_object_is_no_call(message: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"an object has a name twice$"):
        decode_call(message)


def test_a_name_may_come_again_in_another_object() -> None:
    attributes = {"profile": '"profile":1,"profile":2', "method": "x", "a": "{", "b": "\\"}
    for message in (
        {"method": "a.B", "profile": "", "x": attributes},
        [{"y": 1}, {"y": 10**4000}],
    ):
        check_shape(json.dumps(message).encode())


@pytest.mark.parametrize("inner", [b"[]", b"{}", b'{"a":[{}]}', b'[[],"[[[",{}]'])
def test_nesting_ends_at_its_limit(inner: bytes) -> None:
    own = 2 if inner in (b"[]", b"{}") else 4 if b'"a"' in inner else 3
    room = MAX_NESTING - own  # the message itself and what is inside

    def nested(depth: int) -> bytes:
        more = b",".join([b"[1,{}]"] * 40)  # many beside one another are no depth
        return b'{"method":"a.B","text":"%s","wide":[%s],"x":%s%s%s}' % (
            b"[{" * 50, more, b"[" * depth, inner, b"]" * depth,
        )  # fmt: skip

    decode_call(nested(room))
    with pytest.raises(ProtocolError, match=f"nested deeper than {MAX_NESTING}"):
        decode_call(nested(room + 1))


@pytest.mark.parametrize("element", [b"1", b'"[,{"', b'"\\\\"', b'"\\""'])
def test_parts_end_at_their_limit(element: bytes) -> None:
    def message(elements: int) -> bytes:
        return b'{"method":"a.B","x":[%s],"y":1%s}' % (
            b",".join([element] * elements), b" " * SHORT,
        )  # fmt: skip

    most = MAX_PARTS - 3  # beside three members of the message
    check_shape(message(most))
    for more in (1, 10 * MAX_PARTS):
        with pytest.raises(ValueError, match=f"it has more than {MAX_PARTS} parts"):
            check_shape(message(most + more))
    check_shape(message(most + 1)[: -SHORT - 1] + b"}")  # a short one is not counted


@pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_of_one_kind_alone_is_seen(opens: bytes, closes: bytes) -> None:
    for depth in (MAX_NESTING, MAX_NESTING + 1):
        message = opens * depth + b"1" + closes * depth
        if depth > MAX_NESTING:
            with pytest.raises(ValueError, match="nested deeper"):
                check_shape(message)
        else:
            check_shape(message)


def test_as_many_texts_as_there_may_be_parts() -> None:
    members = {f"name {n}": "value" * 5 for n in range(MAX_PARTS)}
    check_shape(json.dumps(members).encode())
    with pytest.raises(ValueError, match="parts"):
        check_shape(json.dumps(members | {"one": "more"}).encode())


def test_quotes_in_a_text_are_no_parts() -> None:
    check_shape(json.dumps({"method": "a.B", "x": '"' * 100_000, "y": "\\" * 10_000}).encode())
