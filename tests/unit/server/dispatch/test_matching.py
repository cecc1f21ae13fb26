# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which hooks an event is for, by each key of `[match]`, and what `Explain` says of it."""

from __future__ import annotations

from typing import Any

import pytest

from hookd.model import Event, Outcome, Phase
from hookd.server.dispatch.matching import (
    MatchResult,
    explain,
    matching,
    overlap_key,
    overlap_key_by_name,
)
from tests.unit.making import configuration, event

START, END = Phase.START, Phase.END


def verdict(match: str, told: Event) -> MatchResult:
    config = configuration(h="[match]\n" + match)
    found = explain(config.hooks["h"], told)
    assert [hook.name for hook in matching(config, told)] == ["h"] * found.matched
    return found


@pytest.mark.parametrize(
    ("match", "values", "matched"),
    [
        ('profile = "docs"', {}, True),
        ('profile = "doc"', {}, False),
        ('profile = "d?c*"', {}, True),
        ('profile = ["x", "[a-d]ocs"]', {}, True),
        ('profile = ["x", "y"]', {}, False),
        ('profile = "DOCS"', {}, False),
        ('profile = "a b"', {"profile": "a b"}, True),
        ('profile = "a_b"', {"profile": "a b"}, False),
        ('profile = "*"', {"profile": "a\nb"}, True),
        ('user = "*@example.com"', {}, True),
        ('user = "*@example.org"', {}, False),
        ('user = "*"', {"user": ""}, True),
        ('client_ip = "192.0.2.0/24"', {}, True),
        ('client_ip = "192.0.3.0/24"', {}, False),
        ('client_ip = "192.0.2.7"', {}, True),
        ('client_ip = ["10.0.0.0/8", "192.0.2.6/31"]', {}, True),
        ('client_ip = "::/0"', {}, False),
        ('client_ip = "0.0.0.0/0"', {"client_ip": "::1"}, False),
        ('client_ip = "192.0.2.0/24"', {"client_ip": "::ffff:192.0.2.9"}, True),
        ('client_ip = "::ffff:0:0/96"', {"client_ip": "::ffff:192.0.2.9"}, True),
        ('client_ip = "fe80::/10"', {"client_ip": "fe80::1%eth0"}, True),
        ('client_ip = "fe80::2"', {"client_ip": "fe80::1%eth0"}, False),
        ('client_build_no = "563"', {}, True),
        ('client_build_no = "5*"', {}, True),
        ('client_build_no = "564"', {}, False),
        ('client_build_no = [">600", "<=563"]', {}, True),
    ],
)
def test_each_key(match: str, values: dict[str, Any], matched: bool) -> None:
    for phase in Phase:
        assert verdict(match, event(phase, **values)).matched is matched


@pytest.mark.parametrize(
    ("condition", "true_of", "false_of"),
    [
        ("<563", ["562", "0", "562.9"], ["563", "563.0", "563.1", "1000"]),
        ("<=563", ["563", "563.0", "562"], ["563.1", "564"]),
        (">563", ["564", "563.1", "0564"], ["563", "563.0.0", "99"]),
        (">= 563", ["563", "563.0", "564"], ["562", "562.9"]),
        ("=563", ["563", "563.0", "0563"], ["5630", "562"]),
        ("==5.10", ["5.10", "5.10.0", "5.010"], ["5.1", "5.11"]),
        ("!=5.1", ["5.10", "5"], ["5.1", "5.1.0"]),
        (">5.9", ["5.10", "6"], ["5.9", "5.1"]),
    ],
)
def test_build_numbers_are_compared_part_by_part(
    condition: str, true_of: list[str], false_of: list[str]
) -> None:
    match = f'client_build_no = "{condition}"'
    for build in [*true_of, *false_of, "", "v5", "563b", "5..1", "-5", "٥", "1" * 19]:
        told = event(client_build_no=build)
        assert verdict(match, told).matched is (build in true_of), build


def test_outcome_matches_at_the_end_only() -> None:
    for match in ('outcome = "lost"', 'outcome = ["error", "lost"]'):
        assert verdict(match, event(END, outcome=Outcome.LOST)).matched
        assert not verdict(match, event(END, outcome=Outcome.SUCCESS)).matched
        assert not verdict(match, event(START)).matched


def test_min_bytes_matches_at_the_end_only() -> None:
    for count, matched in ((1023, False), (1024, True), (2**63 - 1, True)):
        assert verdict('min_bytes = "1K"', event(END, byte_count=count)).matched is matched
        assert not verdict('min_bytes = "1K"', event(START, byte_count=count)).matched


def test_every_key_that_is_given_must_match() -> None:
    match = 'profile = "docs"\nuser = "ann*"\nclient_ip = "192.0.2.7"\nclient_build_no = "563"'
    match += '\noutcome = "error"\nmin_bytes = 5'
    told: dict[str, Any] = {"outcome": Outcome.ERROR, "byte_count": 5}
    assert verdict(match, event(END, **told)).matched
    for key, other in (
        ("profile", "x"), ("user", "bob"), ("client_ip", "::1"), ("client_build_no", "1"),
        ("outcome", Outcome.LOST), ("byte_count", 4),
    ):  # fmt: skip
        found = verdict(match, event(END, **(told | {key: other})))
        assert not found.matched
        assert found.rule == "match." + ("min_bytes" if key == "byte_count" else key)


def test_hooks_come_in_their_order_and_for_their_phases() -> None:
    config = configuration(
        z="order = 1", a="", b='phases = "start"', c='phases = "end"\norder = 60', d=""
    )
    assert [hook.name for hook in matching(config, event(START))] == ["z", "a", "b", "d"]
    assert [hook.name for hook in matching(config, event(END))] == ["z", "a", "d", "c"]


@pytest.mark.parametrize(
    ("hook", "told", "expected"),
    [
        ("", event(), (True, "match", "has no [match]: runs for every job")),
        ('phases = "end"', event(), (False, "phases", "runs at end only")),
        ('phases = "start"', event(END), (False, "phases", "runs at start only")),
        (
            'match = {user = "*", profile = "d*"}',
            event(),
            (True, "match.user", "every key matches: profile, user"),
        ),
        (
            'match = {profile = "x", user = "y"}',
            event(),
            (False, "match.profile", "the job's profile is 'docs'"),
        ),
        (
            'match.user = "x"',
            event(),
            (False, "match.user", "the job's user is 'ann@example.com'"),
        ),
        (
            'match.client_ip = "::1"',
            event(),
            (False, "match.client_ip", "the job's client_ip is '192.0.2.7'"),
        ),
        (
            'match.client_build_no = ">563"',
            event(),
            (False, "match.client_build_no", "the job's client_build_no is '563'"),
        ),
        (
            'match.outcome = "lost"',
            event(END, outcome=Outcome.ERROR),
            (False, "match.outcome", "the job's outcome is 'error'"),
        ),
        (
            "match.min_bytes = 7",
            event(END, byte_count=6),
            (False, "match.min_bytes", "the job's byte_count is 6"),
        ),
        (
            'match.outcome = "lost"',
            event(),
            (False, "match.outcome", "is known only when a job ends"),
        ),
        (
            "match.min_bytes = 7",
            event(),
            (False, "match.min_bytes", "is known only when a job ends"),
        ),
    ],
)
def test_the_rule_that_decided_in_words(
    hook: str, told: Event, expected: tuple[bool, str, str]
) -> None:
    found = explain(configuration(h=hook).hooks["h"], told)
    assert (found.matched, found.rule, found.reason) == expected


def test_what_makes_two_runs_rivals() -> None:
    told = event(profile="p q", user="u", client_ip="::1")
    keys = {"hook": "", "profile": "p q", "user": "u", "client": "::1"}
    for setting, key in keys.items():
        hook = configuration(h=f'run.overlap_key = "{setting}"').hooks["h"]
        assert overlap_key(hook, told) == key
    config = configuration(h='run.overlap_key = "profile"')
    assert overlap_key_by_name(config, "h", told) == "p q"
    assert overlap_key_by_name(config, "gone", told) == ""
    hook = config.hooks["h"]
    assert overlap_key(hook, event(profile="x" * 64)) == "x" * 64
    long = {overlap_key(hook, event(profile="x" * n)) for n in (65, 66, 120_000)}
    assert {len(key) for key in long} == {64}
    assert len(long) == 3
