# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every error: its stable name, the values that travel with it, and what it says."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from hookd import errors
from hookd.errors import HookdError

JOBS, MANAGER, VARLINK = "io.hookd.Jobs.", "io.hookd.Manager.", "org.varlink.service."

EACH: list[tuple[HookdError, str, dict[str, object], str]] = [
    (
        errors.InvalidParameter("user", "found 5; allowed: text"),
        VARLINK + "InvalidParameter",
        {"parameter": "user", "message": "user: found 5; allowed: text"},
        "user: found 5; allowed: text",
    ),
    (errors.PermissionDenied(), VARLINK + "PermissionDenied", {}, ""),
    (
        errors.InterfaceNotFound("a.b"),
        VARLINK + "InterfaceNotFound",
        {"interface": "a.b"},
        "no interface a.b",
    ),
    (
        errors.MethodNotFound("a.b.C"),
        VARLINK + "MethodNotFound",
        {"method": "a.b.C"},
        "no method a.b.C",
    ),
    (errors.ExpectedMore(), VARLINK + "ExpectedMore", {}, ""),
    (errors.NoSuchJob(5), JOBS + "NoSuchJob", {"job_id": 5, "server_job_id": None}, "no job 5"),
    (
        errors.NoSuchJob(server_job_id="s"),
        JOBS + "NoSuchJob",
        {"job_id": None, "server_job_id": "s"},
        "no job of the server's s",
    ),
    (
        errors.JobAlreadyEnded(5, "lost"),
        JOBS + "JobAlreadyEnded",
        {"job_id": 5, "outcome": "lost", "reason": None},
        "job 5 has ended already, outcome lost",
    ),
    (
        errors.JobAlreadyEnded(5, None, "no tape"),
        JOBS + "JobAlreadyEnded",
        {"job_id": 5, "outcome": None, "reason": "no tape"},
        "the start of job 5 was refused, so it has no end: no tape",
    ),
    (
        errors.RequestIdConflict("r", 5),
        JOBS + "RequestIdConflict",
        {"request_id": "r", "job_id": 5},
        "request_id 'r' was used by another request, for job 5",
    ),
    (
        errors.QueueFull(1000),
        JOBS + "QueueFull",
        {"retry_after_msec": 1000},
        "the queue is full; try again in 1000 ms",
    ),
    (errors.ShuttingDown(), JOBS + "ShuttingDown", {}, ""),
    (
        errors.WouldDeadlock(5, 6),
        JOBS + "WouldDeadlock",
        {"job_id": 5, "run_id": 6},
        "run 6 is a hook of job 5, which cannot end before it: call without wait",
    ),
    (errors.StorageFailure("full"), JOBS + "StorageFailure", {"message": "full"}, "full"),
    (errors.InternalError("oh"), JOBS + "InternalError", {"message": "oh"}, "oh"),
    (
        errors.ConfigError(["a", "b"]),
        MANAGER + "InvalidConfiguration",
        {"errors": ["a", "b"]},
        "a\nb",
    ),
    (errors.NoSuchHook("h"), MANAGER + "NoSuchHook", {"hook": "h"}, "no hook 'h'"),
    (
        errors.NoSuchRun(6),
        MANAGER + "NoSuchRun",
        {"run_id": 6},
        "run 6 is neither waiting nor running",
    ),
    (
        errors.TooSlow(9),
        MANAGER + "TooSlow",
        {"seq": 9},
        "fell behind: notices after 9 are forgotten in part",
    ),
    (
        errors.TooManySubscribers(100),
        MANAGER + "TooManySubscribers",
        {"limit": 100},
        "100 subscribers are connected, and no more are allowed",
    ),
    (
        errors.RunnerUnavailable("gone"),
        MANAGER + "RunnerUnavailable",
        {"message": "gone"},
        "gone",
    ),
]


@pytest.mark.parametrize(("error", "code", "parameters", "text"), EACH)
def test_what_travels_and_what_is_said(
    error: HookdError, code: str, parameters: dict[str, object], text: str
) -> None:
    assert (error.code, error.parameters(), str(error)) == (code, parameters, text)


def kinds() -> list[type[HookdError]]:
    """Return the errors of the file; the client has one of its own for codes it does not know."""
    return [kind for kind in HookdError.__subclasses__() if kind.__module__ == errors.__name__]


def test_the_table_above_is_whole() -> None:
    assert {code for _, code, _, _ in EACH} == {kind.code for kind in kinds()} - {
        errors.ProtocolError.code
    }


def test_no_two_errors_have_one_name() -> None:
    codes = [kind.code for kind in kinds()]
    assert sorted(set(codes)) == sorted(codes)
    assert HookdError.code not in codes


def described() -> dict[str, set[str]]:
    """Return the errors of the interface files, with the names of their values."""
    found = {}
    for interface in ("io.hookd.Jobs", "io.hookd.Manager", "org.varlink.service"):
        file = resources.files("hookd").joinpath("interfaces", f"{interface}.varlink")
        text = re.sub(r"#.*", "", file.read_text())
        for name, inside in re.findall(r"^error (\w+)\s*\(([^)]*)\)", text, re.MULTILINE):
            found[f"{interface}.{name}"] = set(re.findall(r"(\w+)\s*:", inside))
    return found


def test_every_error_stands_in_the_interface_files() -> None:
    inside = {errors.ProtocolError}  # closes the connection: there is nobody to tell
    assert {kind.code for kind in kinds() if kind not in inside} <= described().keys()


@pytest.mark.parametrize(("error", "code", "parameters", "text"), EACH)
def test_the_interface_files_name_what_travels(
    error: HookdError, code: str, parameters: dict[str, object], text: str
) -> None:
    more = {"message"} if code == VARLINK + "InvalidParameter" else set()  # beyond the standard
    assert parameters.keys() - more == described()[code]
