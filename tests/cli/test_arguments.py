# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plain calls are understood without click, and exactly as click understands them."""

from __future__ import annotations

from typing import Any

import pytest

from hookd.cli import submit
from hookd.cli.arguments import Call, parse
from hookd.cli.base import Settings
from hookd.cli.commands import hookctl

PLAIN = [
    "start --profile P --client-ip 10.0.0.7",
    "start --profile=P=Q --client-ip= --user -rf",
    "--json start --profile P --wait --client-build-no 563",
    "--socket /s start --profile P --socket=/t --json",
    "start --profile P --profile Q --attribute a=1 --attribute b=x=y --attribute a=2",
    "start --server-job-id --wait --request-id --json",
    "start",
    "end 17",
    "end 17 --file-count 12 --byte-count -1 --outcome warning --message hello",
    "end --server-job-id b-17 --wait",
    "end --profile P --user u --client-ip ::1 x",
    "syncrify true 10.0.0.7 563 P u 0 0 1",
    "--socket /s syncrify --json -rf --help",
]

FOR_CLICK = [
    "",
    "status",
    "--help",
    "start --help",
    "start -h",
    "start --profile",
    "start --profil P",
    "start --wait=1",
    "start --attribute a",
    "start -- --profile",
    "end --file-count many",
    "end 17 --file-count 1_000",
    "end 17 --file-count １２",
    "end --outcome fine",
    "syncrify --help",
    "--version",
    "--json",
]


def by_click(monkeypatch: pytest.MonkeyPatch, line: list[str]) -> Call:
    """Return what click hands to the same functions."""
    seen: list[Any] = []
    monkeypatch.setattr(submit, "start", lambda *given: seen.append(("start", *given)))
    monkeypatch.setattr(submit, "end", lambda *given: seen.append(("end", *given)))
    monkeypatch.setattr(
        submit, "syncrify", lambda settings, words: seen.append(("syncrify", settings, {}, words))
    )
    hookctl.main(line, "hookctl", standalone_mode=False, obj=Settings())
    (call,) = seen
    return Call(*call)


@pytest.mark.parametrize("line", PLAIN)
def test_both_understand_the_same(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    words = line.split()
    assert parse(words) == by_click(monkeypatch, words)


@pytest.mark.parametrize("line", FOR_CLICK)
def test_the_rest_is_left_to_click(line: str) -> None:
    assert parse(line.split()) is None
