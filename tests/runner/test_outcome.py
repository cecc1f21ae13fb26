# SPDX-License-Identifier: LGPL-2.1-or-later
"""From a wait status and what hookd did to a result, each case by name."""

from __future__ import annotations

import signal

import msgspec
import pytest

from hookd.config.parse import Hook, Source, parse
from hookd.model import Result
from hookd.runner.launch import abi
from hookd.runner.launch.profile import Report
from hookd.runner.run.outcome import Cause, Observed, classify

LIMITED = b'command = "/x"\n[limits]\ncpu_time = "2s"\nfile_size = "1M"\ntimeout = "1s"\n'
TIMEOUT = Cause(Result.TIMEOUT, reason="late")


def hook(text: bytes = LIMITED) -> Hook:
    """Return a hook of this file."""
    return parse([Source("x", "x", text)]).hooks["x"]


def exited(status: int) -> int:
    """Return the wait status of an exit."""
    return status << 8


CASES = {
    "success": (None, exited(0), 0, None, ("success", 0, None, None)),
    "skipped": (None, exited(75), 0, None, ("skipped", 75, None, None)),
    "failed": (None, exited(1), 0, None, ("failed", 1, None, None)),
    "signalled": (None, signal.SIGTERM, 0, None, ("signalled", None, "SIGTERM", None)),
    "core dumped": (None, signal.SIGSEGV | 128, 0, None, ("signalled", None, "SIGSEGV", None)),
    "cpu_time": (None, signal.SIGXCPU, 0, None, ("limit", None, "SIGXCPU", "cpu_time")),
    "cpu_time, hard": (None, signal.SIGKILL, 2e6, None, ("limit", None, "SIGKILL", "cpu_time")),
    "killed early": (None, signal.SIGKILL, 1e6, None, ("signalled", None, "SIGKILL", None)),
    "file_size": (None, signal.SIGXFSZ, 0, None, ("limit", None, "SIGXFSZ", "file_size")),
    "out of memory": (None, signal.SIGKILL, 0, "memory", ("limit", None, "SIGKILL", "memory")),
    "no more forks": (None, exited(2), 0, "processes", ("limit", 2, None, "processes")),
    "limit met, coped": (None, exited(0), 0, "processes", ("success", 0, None, None)),
    "timeout": (TIMEOUT, signal.SIGTERM, 0, None, ("timeout", None, "SIGTERM", None)),
    "timeout, exit 0": (TIMEOUT, exited(0), 0, None, ("timeout", 0, None, None)),
    "watched": (
        Cause(Result.LIMIT, limit="memory"), signal.SIGKILL, 0, None,
        ("limit", None, "SIGKILL", "memory"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_judge(name: str) -> None:
    cause, status, cpu, hit, expected = CASES[name]
    last = Report(abi.ENDED, False, 9, status, 0, 0, int(cpu), 0)
    found = classify(cause, last, hook().limits, hit)
    assert (found.result, found.exit_status, found.signal, found.limit) == expected


def test_an_end_that_nobody_saw() -> None:
    assert classify(None, None, hook().limits, None).reason == "its end was not seen"
    assert classify(TIMEOUT, None, hook().limits, None).result is Result.TIMEOUT


@pytest.mark.parametrize(("took_ns", "excused"), [(999_999_999, True), (10**9 + 1, False)])
def test_a_timeout_is_taken_back_where_the_clock_says_so(took_ns: int, excused: bool) -> None:
    first = Report(abi.STARTED, False, 9, 0, 0, 5, 0, 0)
    last = msgspec.structs.replace(first, kind=abi.ENDED, monotonic_ns=5 + took_ns)
    observed = Observed(TIMEOUT, first, last)
    observed.excuse(1.0)
    assert (observed.cause is None) is excused
