# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every parameter at its limit and beyond it, and parameters of wrong types."""

from __future__ import annotations

from typing import Any

import pytest

from hookd.errors import InvalidParameter
from hookd.jobs_api import EndJob, StartJob
from hookd.manager_api import Cancel, ListJobs
from hookd.model import INT_MAX, Event, Outcome, Phase
from hookd.server.api.validation import (
    DEFAULT_PAGE,
    check_cancel,
    check_end,
    check_instance,
    check_job_id,
    check_page,
    start_event,
)


def start(**values: Any) -> Event:
    common = {"profile": "p", "user": "u", "client_ip": "::1", "client_build_no": "1"}
    return start_event(StartJob(**(common | values)))


def end(**values: Any) -> Outcome:
    return check_end(EndJob(**({"job_id": 1, "file_count": 0, "byte_count": 0} | values)))


def refused(check: Any, name: str, /, **values: Any) -> str:
    with pytest.raises(InvalidParameter) as error:
        check(**values)
    assert error.value.parameter == name
    assert error.value.parameters() == {
        "parameter": name,
        "message": f"{name}: {error.value.message}",
    }
    return error.value.message


def test_a_start_becomes_an_event() -> None:
    values: dict[str, Any] = {
        "profile": "a b", "user": "", "client_ip": "fe80::1%eth0", "client_build_no": "",
        "server_job_id": "s", "attributes": {"k": ""},
    }  # fmt: skip
    assert start(**values, request_id="r", tie=True) == Event(
        phase=Phase.START, job_id=0, **values
    )
    assert start().attributes == {}


@pytest.mark.parametrize(
    ("check", "name", "most"),
    [
        (start, "profile", 120_000),
        (start, "user", 120_000),
        (start, "client_build_no", 64),
        (start, "server_job_id", 120_000),
        (start, "request_id", 120_000),
        (end, "server_job_id", 120_000),
        (end, "request_id", 120_000),
        (end, "message", 120_000),
    ],
)
def test_strings_end_at_their_limit_in_bytes(check: Any, name: str, most: int) -> None:
    check(**{name: "x" * most})
    check(**{name: "é" * (most // 2)})
    check(**{name: "🦔" * (most // 4)})
    for value in ("x" * (most + 1), "é" * (most // 2) + "x", "🦔" * (most // 4) + "x"):
        message = refused(check, name, **{name: value})
        assert message == f"must have at most {most} bytes, not {most + 1}"
    nul = refused(check, name, **{name: "a\0"})
    assert nul == "must not contain a NUL character"


def test_what_must_not_be_empty() -> None:
    for name in ("profile", "client_ip"):
        message = refused(start, name, **{name: ""})
        assert message == "must not be empty"
    for check, name in (
        (start, "server_job_id"), (start, "request_id"),
        (end, "server_job_id"), (end, "request_id"),
    ):  # fmt: skip
        message = refused(check, name, **{name: ""})
        assert message == "must not be empty; it may be null"
    end(message="")
    message = refused(check_instance, "instance", instance="")
    assert message == "must not be empty"
    check_instance("x" * 120_000)
    refused(check_instance, "instance", instance="x" * 120_001)


@pytest.mark.parametrize(
    "address",
    ["1.2.3.4", "::", "::1", "fe80::1%eth0", "fe80::1%1", "fe80::1%en-p0.7:a~b", "::ffff:1.2.3.4",
     "2001:db8::1", "fe80::1%" + "x" * 64],
)  # fmt: skip
def test_addresses(address: str) -> None:
    assert start(client_ip=address).client_ip == address


@pytest.mark.parametrize(
    "address",
    ["1.2.3", "1.2.3.4.5", "256.1.1.1", "localhost", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4/8", "[::1]",
     "1.2.3.4%eth0", "fe80::1%", "fe80::1%a b", "fe80::1%a%b", "fe80::1%é", "fe80::1%a\n",
     "fe80::1%" + "x" * 65, "01.2.3.4", "1", "١.2.3.4", ":::"],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    shown = repr(address if len(address) <= 60 else address[:57] + "...")
    assert refused(start, "client_ip", client_ip=address) == (
        f"must be an IPv4 or IPv6 address, with or without a zone, not {shown}"
    )


@pytest.mark.parametrize("name", ["file_count", "byte_count"])
def test_counts(name: str) -> None:
    end(**{name: 0})
    end(**{name: INT_MAX})
    for beyond in (-1, INT_MAX + 1, 10**100):
        assert refused(end, name, **{name: beyond}) == f"must be from 0 to 2^63-1, not {beyond}"


def test_job_ids() -> None:
    check_job_id(1)
    check_job_id(INT_MAX)
    for beyond in (0, -1, INT_MAX + 1):
        expected = f"must be from 1 to 2^63-1, not {beyond}"
        assert refused(check_job_id, "job_id", job_id=beyond) == expected
        assert refused(end, "job_id", job_id=beyond) == expected
    end(job_id=None, server_job_id="s")
    assert refused(end, "job_id", job_id=None) == ("must be given if server_job_id is not")


def test_an_end_without_an_outcome_is_unknown() -> None:
    assert end() is Outcome.UNKNOWN
    for outcome in Outcome:
        assert end(outcome=outcome) is outcome


def test_attributes() -> None:
    start(attributes={str(n): "" for n in range(100)})
    message = refused(start, "attributes", attributes={str(n): "" for n in range(101)})
    assert message == "must be at most 100, not 101"
    start(attributes={"ab": "x" * 120_000, "cd": "é" * 60_000, "ef": "x" * 22_138})
    message = refused(
        start,
        "attributes",
        attributes={"ab": "x" * 120_000, "cd": "é" * 60_000, "ef": "x" * 22_139},
    )
    assert message == "must have at most 262144 bytes together, not 262145"
    message = refused(start, "attributes", attributes={"": "x"})
    assert message == "must not have an empty name"
    for bad in ({"a\0": ""}, {"a": "\0"}):
        assert "NUL" in refused(start, "attributes", attributes=bad)
    for bad in ({"a": "x" * 120_001}, {"x" * 120_001: ""}):
        message = refused(start, "attributes", attributes=bad)
        assert message == "must have at most 120000 bytes, not 120001"


def listed(**values: Any) -> tuple[int | None, int]:
    return check_page(ListJobs(**values))


def test_pages() -> None:
    assert listed() == (None, DEFAULT_PAGE)
    assert listed(cursor="17", limit=1) == (17, 1)
    assert listed(cursor="9" * 18, limit=1000, since_usec=0, until_usec=INT_MAX)[1] == 1000
    for beyond in (0, 1001, -1):
        assert refused(listed, "limit", limit=beyond) == f"must be from 1 to 1000, not {beyond}"
    for name in ("since_usec", "until_usec"):
        for beyond in (-1, INT_MAX + 1):
            message = refused(listed, name, **{name: beyond})
            assert message == f"must be from 0 to 2^63-1, not {beyond}"
    for cursor in ("", "-1", "x", "9" * 19, "1 ", "1\n", "١"):
        message = refused(listed, "cursor", cursor=cursor)
        assert message == f"must be a cursor that ListJobs has returned, not {cursor!r}"


def test_a_cancel_names_one_thing() -> None:
    check_cancel(Cancel(job_id=1))
    check_cancel(Cancel(run_id=1))
    for both in ({}, {"job_id": 1, "run_id": 1}):
        with pytest.raises(InvalidParameter) as error:
            check_cancel(Cancel(**both))
        assert str(error.value) == "job_id: exactly one of job_id and run_id must be given"
    for name in ("job_id", "run_id"):
        with pytest.raises(InvalidParameter) as error:
            check_cancel(Cancel(**{name: 0}))
        assert str(error.value) == f"{name}: must be from 1 to 2^63-1, not 0"
