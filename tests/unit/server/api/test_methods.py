# SPDX-License-Identifier: LGPL-2.1-or-later
"""From a call to typed parameters: every method, every wrong type, whatever is sent."""

from __future__ import annotations

import asyncio
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hookd.errors import (
    HookdError,
    InterfaceNotFound,
    InvalidParameter,
    MethodNotFound,
    ProtocolError,
)
from hookd.jobs_api import EndJob, GetJob, Parameters, StartJob
from hookd.model import Outcome
from hookd.server.api.access import Access
from hookd.server.api.introspection import INTERFACES, description
from hookd.server.api.jobs import Jobs
from hookd.server.api.manager import Manager
from hookd.server.api.methods import METHODS, Api, decode_parameters
from hookd.server.transport.connection import HungUp
from hookd.server.transport.varlink import decode_call, encode_error

START = {"profile": "p", "user": "u", "client_ip": "::1", "client_build_no": "1"}
END = {"file_count": 1, "byte_count": 2}


def call(method: str, parameters: Any = None, **envelope: Any) -> bytes:
    message = {"method": method, **envelope}
    if parameters is not None:
        message["parameters"] = parameters
    return json.dumps(message).encode()


def decoded(message: bytes) -> Parameters:
    return decode_parameters(decode_call(message))


def test_every_method_has_its_form() -> None:
    start = decoded(
        call("io.hookd.Jobs.StartJob", {**START, "attributes": {"a": "b"}, "tie": True})
    )
    assert start == StartJob(**START, attributes={"a": "b"}, tie=True)  # type: ignore[arg-type]
    end = decoded(
        call("io.hookd.Jobs.EndJob", {**END, "job_id": 5, "outcome": "lost", "wait": None})
    )
    assert end == EndJob(job_id=5, file_count=1, byte_count=2, outcome=Outcome.LOST)
    for name in ("GetStatus", "ListJobs", "ListHooks", "Reload", "Cancel"):
        method = f"io.hookd.Manager.{name}"
        assert decoded(call(method)) == decoded(call(method, {})) == METHODS[method].parameters()
    assert decoded(b'{"method":"org.varlink.service.GetInfo","parameters": null }')


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


COUNT = "must be a whole number"
BEYOND = "must be a whole number from 0 to 2^63-1; it is out of range"
OUTCOMES = "must be success, warning, error, canceled, unknown or lost"


@pytest.mark.parametrize(
    ("method", "parameters", "parameter", "message"),
    [
        ("EndJob", b'{"byte_count":1}', "file_count", "must be given"),
        ("EndJob", b"null", "file_count", "must be given"),
        ("EndJob", b'{"file_count":true,"byte_count":1}', "file_count", f"{COUNT}, not a boolean"),
        ("EndJob", b'{"file_count":"1","byte_count":1}', "file_count", f"{COUNT}, not a string"),
        ("EndJob", b'{"file_count":1.5,"byte_count":1}', "file_count", f"{COUNT}, not a fraction"),
        ("EndJob", b'{"file_count":null,"byte_count":1}', "file_count", f"{COUNT}, not null"),
        (
            "EndJob",
            b'{"file_count":' + b"9" * 5000 + b',"byte_count":1}',
            "file_count",
            BEYOND,
        ),
        (
            "EndJob",
            b'{"file_count":1e999,"byte_count":1}',
            "file_count",
            BEYOND,
        ),
        (
            "EndJob",
            b'{"file_count":1,"byte_count":1,"outcome":"good"}',
            "outcome",
            f"{OUTCOMES}, not 'good'",
        ),
        (
            "EndJob",
            b'{"file_count":1,"byte_count":1,"outcome":"it\'s"}',
            "outcome",
            f'{OUTCOMES}, not "it\'s"',
        ),
        (
            "EndJob",
            b'{"file_count":1,"byte_count":1,"outcome":"' + b"x" * 100 + b'"}',
            "outcome",
            f"{OUTCOMES}, not '{'x' * 56}...",
        ),
        (
            "EndJob",
            b'{"file_count":1,"byte_count":1,"outcome":1}',
            "outcome",
            "must be a string, not a whole number",
        ),
        (
            "EndJob",
            b'{"file_count":1,"byte_count":1,"wait":"yes"}',
            "wait",
            "must be a boolean, not a string",
        ),
        (
            "GetJob",
            b'{"job_id":1,"x\\ny":2}',
            "x\ny",
            "is unknown; the method takes job_id",
        ),
        (
            "GetJob",
            b'{"' + b"k" * 1000 + b'":2}',
            "k" * 57 + "...",
            "is unknown; the method takes job_id",
        ),
        ("GetJob", b"[1]", "parameters", "must be an object, not an array"),
        ("GetJob", b"1", "parameters", "must be an object, not a whole number"),
        (
            "StartJob",
            b'{"profile":"p","user":"u","client_ip":"i","client_build_no":563}',
            "client_build_no",
            "must be a string, not a whole number",
        ),
        (
            "StartJob",
            json.dumps({**START, "attributes": {"a": 1}}).encode(),
            "attributes",
            "must be a string, not a whole number",
        ),
        (
            "StartJob",
            json.dumps({**START, "attributes": ["a"]}).encode(),
            "attributes",
            "must be an object, not an array",
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
    with pytest.raises(InvalidParameter, match="x: is unknown; the method takes no parameters"):
        decoded(call("io.hookd.Manager.Reload", {"x": 1}))
    with pytest.raises(InvalidParameter, match=r"the method takes job_id and run_id$"):
        decoded(call("io.hookd.Manager.Cancel", {"x": 1}))
    with pytest.raises(InvalidParameter, match="must be running, ended or refused, not 'x'"):
        decoded(call("io.hookd.Manager.ListJobs", {"state": "x"}))
    with pytest.raises(InvalidParameter, match="phase: must be start or end, not 'x'"):
        decoded(call("io.hookd.Manager.TestHook", {"hook": "h", "phase": "x"}))


def test_every_parameter_of_an_enumeration_has_its_words() -> None:
    for method, row in METHODS.items():
        form = row.parameters
        for field in form.__struct_fields__:
            odd = {"hook": "h", "phase": "start", **START, **END, field: "x"}
            known = {k: v for k, v in odd.items() if k in form.__struct_fields__}
            a_call_or_our_error(call(method, known))


@pytest.mark.parametrize("text", [b'"\xff"', b'"\\ud800"', b'"\\x"', b"nope", b'"\x01"'])
def test_strings_that_are_no_text_close_the_connection(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        decoded(b'{"method":"io.hookd.Jobs.ServerStarted","parameters":{"instance":%s}}' % text)


def test_numbers_of_any_size_are_left_to_the_rules() -> None:
    for number in (-1, 2**63, 2**64, 10**4000):
        assert decoded(call("io.hookd.Jobs.GetJob", {"job_id": number})) == GetJob(job_id=number)


NEEDED = {"GetJob": {"job_id": 1}, "Explain": {"job_id": 1}, "Resume": {"hook": "h"}} | {
    "StartJob": START,
    "EndJob": END,
    "ServerStarted": {"instance": "i"},
    "GetInterfaceDescription": {"interface": "io.hookd.Jobs"},
    "TestHook": {"hook": "h", "phase": "start"},
    "Replay": {"job_id": 1},
}
"""Parameters that must be given."""


@pytest.mark.parametrize("name", METHODS)
def test_only_what_changes_something_is_done_for_a_peer_that_has_gone(name: str) -> None:
    """The objects that serve the methods are missing, so that whatever is done fails."""
    nothing: Any = None
    jobs = Jobs(nothing, nothing, nothing)
    api = Api(jobs, Manager(nothing, nothing, nothing, nothing, nothing, nothing))
    asked = decode_call(call(name, NEEDED.get(name.rpartition(".")[2])))

    async def answer() -> None:
        gone: Any = SimpleNamespace(closed=asyncio.get_running_loop().create_future())
        gone.closed.set_result(None)
        await api.answer(gone, asked)

    expected = HungUp if METHODS[name].access is Access.TELL else Exception
    with pytest.raises(expected) as raised:
        asyncio.run(answer())
    assert isinstance(raised.value, HungUp) == (expected is HungUp)


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
        assert isinstance(found, Parameters)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
fields = sorted({field for row in METHODS.values() for field in row.parameters.__struct_fields__})


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
