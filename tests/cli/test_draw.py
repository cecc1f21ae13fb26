# SPDX-License-Identifier: LGPL-2.1-or-later
"""How values are put in words, and tables into a width."""

from __future__ import annotations

from typing import Any

import pytest

from hookd.cli.draw import GAP, NARROWEST, fit
from hookd.cli.words import cell, ended, size, span
from hookd.model import HookRun, Phase, Result, RunState


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, "-"),
        (0, "0B"),
        (999, "999B"),
        (1000, "0.977K"),
        (1536, "1.5K"),
        (1024**2, "1M"),
        (10 * 1024**3, "10G"),
        (2**63 - 1, "8388608T"),
    ],
)
def test_sizes(count: int | None, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("usec", "words"),
    [
        (None, "-"),
        (0, "0us"),
        (999, "999us"),
        (1500, "2ms"),
        (1_234_567, "1.23s"),
        (59_994_000, "60s"),
        (60_000_000, "1min"),
        (3_725_000_000, "1h 2min"),
        (90_000_000_000, "1d 1h"),
    ],
)
def test_spans(usec: int | None, words: str) -> None:
    assert span(usec) == words


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"result": Result.FAILED, "exit_status": 3}, "failed exit status 3"),
        ({"result": Result.SIGNALLED, "signal": "SIGSEGV"}, "signalled SIGSEGV"),
        ({"result": Result.TIMEOUT, "duration_usec": 90_000_000}, "timeout after 1min 30s"),
        ({"result": Result.TIMEOUT, "reason": "too long"}, "timeout: too long"),
        ({"result": Result.LIMIT, "limit": "memory"}, "limit memory"),
        ({"result": Result.SPAWN_FAILED, "reason": "no program"}, "spawn-failed: no program"),
        ({"state": RunState.WAITING}, "waiting"),
    ],
)
def test_ends(told: dict[str, Any], words: str) -> None:
    usual = {"run_id": 1, "hook": "hook", "phase": Phase.END, "attempt": 1}
    run: dict[str, Any] = usual | {"state": RunState.ENDED} | told
    assert ended(HookRun(**run)) == words


def test_text_cannot_move_the_cursor() -> None:
    assert cell("Grüße 🎉 \\n") == "Grüße 🎉 \\n"
    assert cell("a\x1b[2J\r\n\x9b\u202e\u2028\tb") == r"a\x1b[2J\x0d\x0a\x9b\u202e\u2028\x09b"


def test_columns_are_left_out_and_made_narrow_until_a_line_fits() -> None:
    natural = {"JOB": 3, "PROFILE": 30, "USER": 40, "CLIENT": 20}
    assert fit(natural, 200, ("CLIENT", "USER")) == natural
    assert list(fit(natural, 80, ("CLIENT", "USER"))) == ["JOB", "PROFILE", "USER"]
    assert fit(natural, 40, ("CLIENT", "USER")) == {"JOB": 3, "PROFILE": 30}
    narrow = fit(natural, 50, ())
    assert sum(narrow.values()) + GAP * 3 == 50
    assert narrow["JOB"] == 3
    assert min(fit(natural, 5, ()).values()) == 3
    assert max(fit(natural, 5, ()).values()) == NARROWEST
