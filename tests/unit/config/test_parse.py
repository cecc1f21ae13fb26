# SPDX-License-Identifier: LGPL-2.1-or-later
"""Configuration that can be used: defaults, what each value becomes, `[defaults]`, digests."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest

from hookd.config.options import BuildCondition
from hookd.config.parse import Config, Hook, Source, parse
from hookd.model import Outcome, Phase


def configuration(settings: str = "", **hooks: str) -> Config:
    sources = [Source("hookd.toml", None, settings.encode())]
    sources += [Source(f"hooks.d/{n}.toml", n, text.encode()) for n, text in hooks.items()]
    return parse(sources)


def hook(text: str, settings: str = "") -> Hook:
    return configuration(settings, h='command = "/x"\n' + text).hooks["h"]


def values(table: msgspec.Struct) -> dict[str, Any]:
    return msgspec.structs.asdict(table)


def test_the_defaults_of_hookd_toml() -> None:
    assert configuration() == parse([Source("hookd.toml", None, b"")])
    config = parse([])
    assert values(config.daemon) == {
        "max_running": 64,
        "max_queue": 10_000,
        "job_ids": "persistent",
        "lost_after": 86_400.0,
        "drain": 60.0,
        "history": 90 * 86_400.0,
    }
    assert values(config.access) == {"submit": ("@hookd", "root"), "manage": ("root",)}
    assert config.hooks == {}


def test_the_defaults_of_a_hook() -> None:
    plain = hook("")
    assert plain.command.text == "/x"
    assert plain.phases == (Phase.START, Phase.END)
    assert (plain.name, plain.path, plain.is_gate) == ("h", "hooks.d/h.toml", False)
    assert (plain.kind, plain.on_error, plain.obsolete, plain.order) == (
        "notify",
        "deny",
        "run",
        50,
    )
    assert set(values(plain.match).values()) == {None}
    assert values(plain.run) == {
        "user": None,
        "group": None,
        "working_directory": "/",
        "umask": 0o077,
        "environment": {},
        "stdin": "json",
        "overlap": "parallel",
        "overlap_key": "hook",
        "max_running": 32,
        "on_crash": "report",
        "leftovers": "kill",
    }
    assert values(plain.retry) == {
        "attempts": 1,
        "backoff": 10.0,
        "max_backoff": 600.0,
        "quarantine_after": 0,
    }
    assert values(plain.limits) == {
        "timeout": 600.0,
        "kill_grace": 10.0,
        "cpu_time": None,
        "memory": None,
        "processes": None,
        "open_files": None,
        "file_size": None,
        "output": 1 << 20,
        "nice": 0,
        "io_class": "none",
        "cpu_affinity": None,
        "cpu_weight": None,
    }


CONTRACT = """
command = "/usr/local/libexec/notify $EVENT $CLIENT_IP $PROFILE $USER $JOB_ID"
phases = ["start", "end"]
kind = "notify"
on_error = "deny"
obsolete = "run"
order = 50
[match]
profile = ["prod-*"]
user = ["*@example.com"]
client_ip = ["10.0.0.0/8", "fe80::/10"]
client_build_no = ">=563"
outcome = ["error", "lost"]
min_bytes = "1G"
[run]
user = "backup"
working_directory = "/"
umask = "0077"
environment = { KEY = "value" }
stdin = "json"
overlap = "parallel"
overlap_key = "hook"
max_running = 8
on_crash = "report"
leftovers = "kill"
[retry]
attempts = 3
backoff = "10s"
max_backoff = "10min"
quarantine_after = 0
[limits]
timeout = "10min"
kill_grace = "10s"
cpu_time = "5min"
memory = "512M"
processes = 64
open_files = 1024
file_size = "1G"
output = "1M"
nice = 10
io_class = "idle"
cpu_affinity = [0]
cpu_weight = 50
"""


def test_the_contracts_example() -> None:
    full = configuration(h=CONTRACT).hooks["h"]
    assert values(full.match) == {
        "profile": ("prod-*",),
        "user": ("*@example.com",),
        "client_ip": (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fe80::/10")),
        "client_build_no": (BuildCondition(">=", (563,)),),
        "outcome": (Outcome.ERROR, Outcome.LOST),
        "min_bytes": 1 << 30,
    }
    assert (full.run.user, full.run.environment, full.run.max_running) == (
        "backup",
        {"KEY": "value"},
        8,
    )
    assert full.retry.attempts == 3
    limits = full.limits
    assert (limits.cpu_time, limits.memory, limits.processes) == (300.0, 512 << 20, 64)
    assert (limits.open_files, limits.file_size, limits.nice) == (1024, 1 << 30, 10)
    assert (limits.io_class, limits.cpu_affinity, limits.cpu_weight) == ("idle", (0,), 50)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1ms", 0.001), ("500us", None), ("90s", 90), ("90 sec", 90), ("2m", 120), ("10min", 600),
        ("1h 30min", 5400), ("1h30min", 5400), (" 1.5 h ", 5400), ("1d", 86400), ("1w", 604800),
        ("36600d", 3162240000), ("36601d", None), ("0s", None), ("", None), ("s", None),
        ("1 h 30", None), ("1H", None), ("1e3s", None), ("nan", None), ("٣s", None),
        ("9" * 400 + "s", None),
    ],
)  # fmt: skip
def test_times(written: str, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(Exception, match="a time with a unit"):
            hook(f"limits.timeout = '{written}'")
    else:
        assert hook(f"limits.timeout = '{written}'").limits.timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("0", 0), ("'0'", 0), ("5", 5), ("'5'", 5), ("'1K'", 1024), ("'2M'", 2 << 20),
        ("'3G'", 3 << 30), ("'1T'", 1 << 40), ("9223372036854775807", 2**63 - 1),
        ("'0000000000000000001'", 1), ("'00000000000000000001'", None), ("true", None),
        ("9223372036854775808", None), ("'1KB'", None), ("'1 K'", None), ("'1k'", None),
        ("-1", None), ("1.0", None), ("'٣'", None),
    ],
)  # fmt: skip
def test_sizes(written: str, size: int | None) -> None:
    if size is None:
        with pytest.raises(Exception, match="a size such as"):
            hook(f"limits.output = {written}")
    else:
        assert hook(f"limits.output = {written}").limits.output == size


def test_one_value_or_a_list_of_them() -> None:
    one = hook('phases = "end"\nmatch = {profile = "a", outcome = "lost", client_ip = "::1"}')
    assert (one.phases, one.match.profile, one.match.outcome) == ((Phase.END,), ("a",), ("lost",))
    assert one.match.client_ip == (ipaddress.ip_network("::1"),)
    builds = hook('match.client_build_no = ["==5.0.1", "<4", "!=3", "<= 2", "> 1", "6.*"]').match
    assert builds.client_build_no == (
        BuildCondition("=", (5, 0, 1)),
        BuildCondition("<", (4,)),
        BuildCondition("!=", (3,)),
        BuildCondition("<=", (2,)),
        BuildCondition(">", (1,)),
        "6.*",
    )
    assert hook("limits.cpu_affinity = [3, 0, 3]").limits.cpu_affinity == (0, 3)
    assert hook('match.client_ip = "10.1.2.3/8"').match.client_ip == (
        ipaddress.ip_network("10.0.0.0/8"),
    )


def test_defaults_lie_below_each_key_of_each_table() -> None:
    settings = """
    [defaults]
    order = 7
    run = { user = "svc", umask = "0022", environment = { A = "1" } }
    limits = { timeout = "5s" }
    retry.attempts = 2
    match.profile = "p*"
    """
    merged = hook('[run]\numask = "0007"\n[retry]\nbackoff = "1s"\n', settings)
    assert (merged.order, merged.run.user, merged.run.umask) == (7, "svc", 0o007)
    assert merged.run.environment == {"A": "1"}
    assert (merged.retry.attempts, merged.retry.backoff) == (2, 1.0)
    assert (merged.limits.timeout, merged.match.profile) == (5.0, ("p*",))
    own = hook('order = 1\n[run]\nuser = "x"\n[run.environment]\nB = "2"', settings)
    assert (own.order, own.run.user, own.run.umask) == (1, "x", 0o022)
    assert own.run.environment == {"B": "2"}


def test_a_hook_leaves_room_for_the_others_by_default() -> None:
    for settings, room in (("", 32), ("max_running = 5", 2), ("max_running = 1", 1)):
        assert hook("", "[daemon]\n" + settings).run.max_running == room


def test_an_empty_file_disables() -> None:
    command = 'command = "/x"'
    assert list(configuration(a=command, b="", c="# off\n", d=command).hooks) == ["a", "d"]


def test_hooks_stand_in_their_order_then_by_name() -> None:
    config = configuration(
        **{name: f'command = "/x"\norder = {n}' for name, n in (("z", 1), ("b", 5), ("a", 5))}
    )
    assert list(config.hooks) == ["z", "a", "b"]


def test_the_digest_of_all_is_that_of_the_bytes() -> None:
    one = configuration("", a='command = "/x"').digest
    assert one == configuration("", a='command = "/x"').digest
    others = {
        configuration("", a='command = "/x" ').digest,
        configuration("", b='command = "/x"').digest,
        configuration("# c", a='command = "/x"').digest,
        configuration("", a='command = "/x"', b="").digest,
        parse([Source("a.toml", "a", b'command = "/x"')]).digest,
    }
    assert len(others) == 5
    assert one not in others
    elsewhere = [Source("x", None, b""), Source("y", "a", b'command = "/x"')]
    assert one == parse(elsewhere).digest  # where the files lie does not matter


def test_the_digest_of_a_hook_is_that_of_its_meaning() -> None:
    plain = hook("").digest
    assert plain == hook("# a remark\norder = 50").digest
    assert plain == hook("", "[daemon]\nmax_running = 2").digest
    assert plain != hook("order = 51").digest
    assert plain != hook("", "[defaults]\norder = 51").digest
    assert plain != hook("run.environment = { A = '1' }").digest
