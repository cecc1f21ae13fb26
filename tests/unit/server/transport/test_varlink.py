# SPDX-License-Identifier: LGPL-2.1-or-later
"""Varlink's bytes: whole, in pieces, several at once, and everything that is not Varlink."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hookd.errors import (
    HookdError,
    InterfaceNotFound,
    InvalidParameter,
    MethodNotFound,
    NoSuchJob,
    ProtocolError,
)
from hookd.model import HookRun, Outcome, Phase, RunState
from hookd.server.transport import varlink
from hookd.server.transport.varlink import (
    INTERFACES,
    MAX_MESSAGE,
    METHODS,
    Call,
    CallReader,
    decode_call,
    decode_parameters,
    description,
    encode_error,
    encode_reply,
)

JOBS = "io.hookd.Jobs."
START = {"profile": "p", "user": "u", "client_ip": "::1", "client_build_no": "1"}
END = {"file_count": 1, "byte_count": 2}


def call(method: str, parameters: Any = None, **envelope: Any) -> bytes:
    message = {"method": method, **envelope}
    if parameters is not None:
        message["parameters"] = parameters
    return json.dumps(message).encode()


def decoded(message: bytes) -> varlink.Parameters:
    return decode_parameters(decode_call(message))


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


def test_every_method_has_its_form() -> None:
    start = decoded(call(JOBS + "StartJob", {**START, "attributes": {"a": "b"}, "tie": True}))
    assert start == varlink.StartJob(**START, attributes={"a": "b"}, tie=True)  # type: ignore[arg-type]
    end = decoded(call(JOBS + "EndJob", {**END, "job_id": 5, "outcome": "lost", "wait": None}))
    assert end == varlink.EndJob(job_id=5, file_count=1, byte_count=2, outcome=Outcome.LOST)
    for name in ("GetStatus", "ListJobs", "ListHooks", "Reload", "Cancel"):
        method = f"io.hookd.Manager.{name}"
        assert decoded(call(method)) == decoded(call(method, {})) == METHODS[method]()
    assert decoded(b'{"method":"org.varlink.service.GetInfo","parameters": null }')


def test_methods_and_forms_are_those_of_the_interface_files() -> None:
    described = {}
    for interface in INTERFACES:
        text = re.sub(r"#.*", "", description(interface))
        for name, inside in re.findall(r"^method (\w+)\s*\(([^)]*)\)", text, re.MULTILINE):
            described[f"{interface}.{name}"] = tuple(re.findall(r"(\w+)\s*:", inside))
    assert {m: form.__struct_fields__ for m, form in METHODS.items()}.items() <= described.items()


@pytest.mark.parametrize(
    ("method", "error", "text"),
    [
        ("io.hookd.Jobs.Nonsense", MethodNotFound, "no method io.hookd.Jobs.Nonsense"),
        ("io.hookd.Jobs.", MethodNotFound, "no method io.hookd.Jobs."),
        ("io.hookd.Nothing.GetJob", InterfaceNotFound, "no interface io.hookd.Nothing"),
        ("io.hookd.jobs.GetJob", InterfaceNotFound, "no interface io.hookd.jobs"),
        ("GetJob", InterfaceNotFound, "no interface "),
        ("", InterfaceNotFound, "no interface "),
    ],
)
def test_methods_that_are_not_here(method: str, error: type[HookdError], text: str) -> None:
    with pytest.raises(error) as raised:
        decoded(call(method))
    assert str(raised.value) == text


COUNT = "allowed: a whole number"
BEYOND = "allowed: a whole number from 0 to 2^63-1"
OUTCOMES = "allowed: success warning error canceled unknown lost"


@pytest.mark.parametrize(
    ("method", "parameters", "parameter", "message"),
    [
        ("EndJob", b'{"byte_count":1}', "file_count", "found nothing; it must be given"),
        ("EndJob", b"null", "file_count", "found nothing; it must be given"),
        ("EndJob", b'{"file_count":true,"byte_count":1}', "file_count", f"found bool; {COUNT}"),
        ("EndJob", b'{"file_count":"1","byte_count":1}', "file_count", f"found str; {COUNT}"),
        ("EndJob", b'{"file_count":1.5,"byte_count":1}', "file_count", f"found float; {COUNT}"),
        ("EndJob", b'{"file_count":null,"byte_count":1}', "file_count", f"found null; {COUNT}"),
        (
            "EndJob",
            b'{"file_count":' + b"9" * 5000 + b',"byte_count":1}',
            "file_count",
            f"Integer value out of range; {BEYOND}",
        ),
        (
            "EndJob",
            b'{"file_count":1e999,"byte_count":1}',
            "file_count",
            f"Number out of range; {BEYOND}",
        ),
        (
            "EndJob",
            b'{"file_count":1,"byte_count":1,"outcome":"good"}',
            "outcome",
            f"found 'good'; {OUTCOMES}",
        ),
        (
            "EndJob",
            b'{"file_count":1,"byte_count":1,"outcome":"it\'s"}',
            "outcome",
            f'found "it\'s"; {OUTCOMES}',
        ),
        (
            "EndJob",
            b'{"file_count":1,"byte_count":1,"outcome":"' + b"x" * 100 + b'"}',
            "outcome",
            f"found '{'x' * 56}...; {OUTCOMES}",
        ),
        (
            "EndJob",
            b'{"file_count":1,"byte_count":1,"outcome":1}',
            "outcome",
            "found int; allowed: a string",
        ),
        (
            "EndJob",
            b'{"file_count":1,"byte_count":1,"wait":"yes"}',
            "wait",
            "found str; allowed: true or false",
        ),
        (
            "GetJob",
            b'{"job_id":1,"x\\ny":2}',
            "x\ny",
            "found an unknown parameter; allowed: job_id",
        ),
        (
            "GetJob",
            b'{"' + b"k" * 1000 + b'":2}',
            "k" * 57 + "...",
            "found an unknown parameter; allowed: job_id",
        ),
        ("GetJob", b"[1]", "parameters", "Expected `object`, got `array`; allowed: an object"),
        ("GetJob", b"1", "parameters", "Expected `object`, got `int`; allowed: an object"),
        (
            "StartJob",
            b'{"profile":"p","user":"u","client_ip":"i","client_build_no":563}',
            "client_build_no",
            "found int; allowed: a string",
        ),
        (
            "StartJob",
            json.dumps({**START, "attributes": {"a": 1}}).encode(),
            "attributes",
            "found int; allowed: a string",
        ),
        (
            "StartJob",
            json.dumps({**START, "attributes": ["a"]}).encode(),
            "attributes",
            "found array; allowed: an object",
        ),
    ],
)
def test_parameters_of_a_wrong_form(
    method: str, parameters: bytes, parameter: str, message: str
) -> None:
    with pytest.raises(InvalidParameter) as raised:
        decoded(b'{"method":"io.hookd.Jobs.%s","parameters":%s}' % (method.encode(), parameters))
    assert (raised.value.parameter, raised.value.message) == (parameter, message)


def test_other_unknown_words_name_theirs() -> None:
    with pytest.raises(InvalidParameter, match="allowed: no parameter"):
        decoded(call("io.hookd.Manager.Reload", {"x": 1}))
    with pytest.raises(InvalidParameter, match=r"allowed: job_id run_id$"):
        decoded(call("io.hookd.Manager.Cancel", {"x": 1}))
    with pytest.raises(InvalidParameter, match="found 'x'; allowed: running ended refused"):
        decoded(call("io.hookd.Manager.ListJobs", {"state": "x"}))
    with pytest.raises(InvalidParameter, match="phase: found 'x'; allowed: start end"):
        decoded(call("io.hookd.Manager.TestHook", {"hook": "h", "phase": "x"}))


def test_every_parameter_of_an_enumeration_has_its_words() -> None:
    for method, form in METHODS.items():
        for field in form.__struct_fields__:
            odd = {"hook": "h", "phase": "start", **START, **END, field: "x"}
            known = {k: v for k, v in odd.items() if k in form.__struct_fields__}
            a_call_or_our_error(call(method, known))


@pytest.mark.parametrize("text", [b'"\xff"', b'"\\ud800"', b'"\\x"', b"nope", b'"\x01"'])
def test_strings_that_are_no_text_close_the_connection(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        decoded(b'{"method":"io.hookd.Jobs.ServerStarted","parameters":{"instance":%s}}' % text)


def test_numbers_of_any_size_are_left_to_admission() -> None:
    for number in (-1, 2**63, 2**64, 10**4000):
        assert decoded(call(JOBS + "GetJob", {"job_id": number})) == varlink.GetJob(job_id=number)


def test_replies_and_errors_as_bytes() -> None:
    run = HookRun(run_id=1, hook="h", phase=Phase.END, attempt=1, state=RunState.WAITING)
    reply = encode_reply(varlink.EndJobReply(job_id=7, duplicate=False, hooks=[run]))
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


def test_descriptions() -> None:
    for interface in INTERFACES:
        assert re.search(rf"^interface {interface}$", description(interface), re.MULTILINE)
    for other in ("", "io.hookd", "../config", "io.hookd.Jobs.varlink"):
        with pytest.raises(InterfaceNotFound, match=f"^no interface {re.escape(other)}$"):
            description(other)


def a_call_or_our_error(message: bytes) -> None:
    try:
        found = decoded(message)
    except HookdError as e:
        answer = encode_error(e)
        assert answer.count(b"\0") == 1
        json.loads(answer[:-1])
    else:
        assert isinstance(found, varlink.Parameters)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
fields = sorted({field for form in METHODS.values() for field in form.__struct_fields__})


@given(st.binary(max_size=80))
@example(b'{"method":"io.hookd.Jobs.GetJob","parameters":{"job_id":' + b"9" * 5000 + b"}}")
def test_whatever_the_bytes(message: bytes) -> None:
    a_call_or_our_error(message)


@given(
    st.sampled_from(sorted(METHODS)) | st.text(max_size=20),
    st.dictionaries(st.sampled_from(fields) | st.text(max_size=5), values, max_size=8) | values,
)
@settings(max_examples=300)
def test_whatever_the_parameters(method: str, parameters: Any) -> None:
    a_call_or_our_error(call(method, parameters))


@given(
    st.integers(0, 250), st.binary(max_size=3), st.integers(0, 5), st.sampled_from(sorted(METHODS))
)
@settings(max_examples=300)
def test_whatever_is_changed_in_a_good_call(at: int, new: bytes, cut: int, method: str) -> None:
    good = call(method, {**START, **END, "job_id": 1, "attributes": {"a": "é"}, "outcome": "lost"})
    a_call_or_our_error(good[:at] + new + good[at + cut :])


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
