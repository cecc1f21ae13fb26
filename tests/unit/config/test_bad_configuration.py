# SPDX-License-Identifier: LGPL-2.1-or-later
"""Configuration that cannot be used: each mistake with the exact sentence that it gets."""

from __future__ import annotations

import pytest

from hookd.config.parse import Source, parse
from hookd.errors import ConfigError

COMMAND = 'command = "/bin/true"\n'


def errors(settings: str, **hooks: str) -> list[str]:
    """Return the errors of a hookd.toml and the hook files beside it."""
    sources = [Source("hookd.toml", None, settings.encode())]
    sources += [Source(f"hooks.d/{n}.toml", n, text.encode()) for n, text in hooks.items()]
    with pytest.raises(ConfigError) as error:
        parse(sources)
    assert str(error.value) == "\n".join(error.value.errors)
    assert error.value.parameters() == {"errors": error.value.errors}
    return error.value.errors


TIME = 'a time with a unit, such as "90s", "10min" or "1h 30min", from %s to 100 years'
SIZE = 'a size such as "512M" (K, M, G, T of 1024) or a number of bytes, from %s to 2^63-1'
ENVIRONMENT = (
    'a table of texts without NUL, whose names are letters, digits and "_" and do not begin with '
    "HOOKD_"
)
LIST = ", or a list of such that is not empty"
BUILD = 'a condition such as ">=563" (< <= > >= = !=) or a shell pattern such as "5.*"' + LIST
NETWORK = 'a network such as "10.0.0.0/8" or "fe80::/10", or an address' + LIST
USERS = 'a list of users and "@groups"'


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (
            "[daemon]\nmax_runing = 3",
            "daemon.max_runing: found an unknown key (did you mean max_running?); "
            "allowed: max_running max_queue job_ids lost_after drain history",
        ),
        (
            "[deamon]",
            "deamon: found an unknown key (did you mean daemon?); allowed: daemon access defaults",
        ),
        ("xyz = 1", "xyz: found an unknown key; allowed: daemon access defaults"),
        ("daemon = 5", "daemon: found 5; allowed: a table"),
        (
            "[daemon]\nmax_running = 0",
            "daemon.max_running: found 0; allowed: a whole number from 1 to 10000",
        ),
        (
            "[daemon]\nmax_running = true",
            "daemon.max_running: found true; allowed: a whole number from 1 to 10000",
        ),
        (
            "[daemon]\nmax_queue = 1_000_001",
            "daemon.max_queue: found 1000001; allowed: a whole number from 1 to 1000000",
        ),
        (
            '[daemon]\njob_ids = "boot"',
            'daemon.job_ids: found "boot"; allowed: "persistent" or "per-boot"',
        ),
        (
            '[daemon]\nlost_after = "300"',
            f'daemon.lost_after: found "300"; allowed: {TIME % "1 s"}, or "never"',
        ),
        ("[daemon]\ndrain = 60", f"daemon.drain: found 60; allowed: {TIME % '0.001 s'}"),
        (
            '[daemon]\ndrain = "never"',
            f'daemon.drain: found "never"; allowed: {TIME % "0.001 s"}',
        ),
        (
            '[daemon]\nhistory = "90days"',
            f'daemon.history: found "90days"; allowed: {TIME % "60 s"}, or "never"',
        ),
        (
            '[daemon]\nhistory = "59s"',
            f'daemon.history: found "59s"; allowed: {TIME % "60 s"}, or "never"',
        ),
        ('[access]\nsubmit = "root"', f'access.submit: found "root"; allowed: {USERS}'),
        ('[access]\nmanage = ["@"]', f'access.manage: found "@"; allowed: {USERS}'),
        (
            '[defaults]\norder = "first"',
            'defaults.order: found "first"; allowed: a whole number from -1000000 to 1000000',
        ),
        ("[defaults]\nrun = 3", "defaults.run: found 3; allowed: a table"),
        (
            "[defaults.retry]\nattempts = 0",
            "defaults.retry.attempts: found 0; allowed: a whole number from 1 to 1000",
        ),
        (
            '[defaults]\ncommand = "relative"',
            "defaults.command: found program 'relative'; allowed: an absolute path "
            "(no PATH is searched)",
        ),
    ],
)
def test_settings(settings: str, error: str) -> None:
    assert errors(settings, h="", i=COMMAND) == ["hookd.toml: " + error]
    if "[defaults" in settings and "command" in settings:
        assert errors(settings, h="order = 1") == ["hookd.toml: " + error]  # said once


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        ("order = 1", "command: missing; allowed: an absolute program and its arguments"),
        (
            "command = 1",
            "command: found 1; allowed: an absolute program and its arguments, as text",
        ),
        ('command = ""', "command: found no word; allowed: a program and its arguments"),
        (
            'command = "true"',
            "command: found program 'true'; allowed: an absolute path (no PATH is searched)",
        ),
        (
            'command = "/x \'"',
            'command: found "/x \'", which has a quote that is never closed; '
            "allowed: words in POSIX shell quoting",
        ),
        (
            'command = "/x $CLIENT"',
            "command: found the unknown variable '$CLIENT'; allowed: $EVENT $PHASE $CLIENT_IP "
            "$CLIENT_BUILD_NO $PROFILE $PROFILE_NAME $USER $FILE_COUNT $BYTE_COUNT $JOB_ID "
            "$OUTCOME $DURATION_SEC $TEST",
        ),
        (
            COMMAND + "commmand = 1",
            "commmand: found an unknown key (did you mean command?); allowed: command phases kind "
            "on_error obsolete order match run retry limits",
        ),
        (
            COMMAND + 'phases = "begin"',
            'phases: found "begin"; allowed: "start" or "end"' + LIST,
        ),
        (
            COMMAND + "phases = []",
            'phases: found []; allowed: "start" or "end"' + LIST,
        ),
        (COMMAND + 'kind = "gat"', 'kind: found "gat"; allowed: "notify" or "gate"'),
        (COMMAND + 'on_error = "no"', 'on_error: found "no"; allowed: "deny" or "allow"'),
        (COMMAND + "obsolete = 1", 'obsolete: found 1; allowed: "run" or "skip"'),
        (
            COMMAND + "order = 1.5",
            "order: found 1.5; allowed: a whole number from -1000000 to 1000000",
        ),
        (
            COMMAND + 'kind = "gate"\nphases = ["end"]',
            'kind: found "gate" without the phase "start"; allowed: a gate at a start',
        ),
    ],
)
def test_the_top_of_a_hook_file(hook: str, error: str) -> None:
    assert errors("", h=hook) == ["hooks.d/h.toml: " + error]


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        ("match = []", "match: found []; allowed: a table"),
        (
            '[match]\nprofile = ""',
            'match.profile: found ""; allowed: a shell pattern' + LIST,
        ),
        (
            '[match]\nuser = ["a", 5]',
            "match.user: found 5; allowed: a shell pattern" + LIST,
        ),
        (
            '[match]\nclient_ip = "10.0.0.0/33"',
            f'match.client_ip: found "10.0.0.0/33"; allowed: {NETWORK}',
        ),
        ("[match]\nclient_ip = 10", f"match.client_ip: found 10; allowed: {NETWORK}"),
        (
            '[match]\nclient_build_no = ">=v5"',
            f'match.client_build_no: found ">=v5"; allowed: {BUILD}',
        ),
        ("[match]\nclient_build_no = 563", f"match.client_build_no: found 563; allowed: {BUILD}"),
        (
            '[match]\noutcome = "failed"',
            'match.outcome: found "failed"; allowed: "success", "warning", "error", "canceled", '
            '"unknown" or "lost", or a list of such that is not empty',
        ),
        ("[match]\nmin_bytes = 0", f"match.min_bytes: found 0; allowed: {SIZE % 1}"),
        ('[match]\nmin_bytes = "1g"', f'match.min_bytes: found "1g"; allowed: {SIZE % 1}'),
        (
            'phases = "start"\n[match]\noutcome = "lost"',
            'match.outcome: found with phases that have no "end", so it would never match; '
            'allowed: with the phase "end"',
        ),
        (
            'phases = "start"\n[match]\nmin_bytes = 5',
            'match.min_bytes: found with phases that have no "end", so it would never match; '
            'allowed: with the phase "end"',
        ),
    ],
)
def test_match(hook: str, error: str) -> None:
    assert errors("", h=COMMAND + hook) == ["hooks.d/h.toml: " + error]


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        ('[run]\nuser = "a b"', 'run.user: found "a b"; allowed: the name or number of a user'),
        (
            '[run]\nworking_directory = "tmp"',
            'run.working_directory: found "tmp"; allowed: an absolute path',
        ),
        (
            "[run]\numask = 18",
            'run.umask: found 18; allowed: an octal mask as text, such as "0077"',
        ),
        (
            '[run]\numask = "0780"',
            'run.umask: found "0780"; allowed: an octal mask as text, such as "0077"',
        ),
        (
            "[run.environment]\nHOOKD_X = 'a'",
            f'run.environment: found the name "HOOKD_X"; allowed: {ENVIRONMENT}',
        ),
        (
            "[run.environment]\nA-B = 'a'",
            f'run.environment: found the name "A-B"; allowed: {ENVIRONMENT}',
        ),
        (
            "[run]\nenvironment = {PASSWORD = 12345}",
            f"run.environment: the value of PASSWORD is no text; allowed: {ENVIRONMENT}",
        ),
        (
            "[run]\nenvironment = 'PASSWORD=12345'",
            f"run.environment: found no table; allowed: {ENVIRONMENT}",
        ),
        ('[run]\nstdin = "pipe"', 'run.stdin: found "pipe"; allowed: "json" or "null"'),
        (
            '[run]\noverlap = "queue"',
            'run.overlap: found "queue"; allowed: "parallel", "serial", "skip" or "replace"',
        ),
        (
            '[run]\noverlap_key = "ip"',
            'run.overlap_key: found "ip"; allowed: "hook", "profile", "user" or "client"',
        ),
        (
            "[run]\nmax_running = -1",
            "run.max_running: found -1; allowed: a whole number from 1 to 10000",
        ),
        ('[run]\non_crash = "again"', 'run.on_crash: found "again"; allowed: "report" or "rerun"'),
        ('[run]\nleftovers = "keep"', 'run.leftovers: found "keep"; allowed: "kill" or "warn"'),
    ],
)
def test_run(hook: str, error: str) -> None:
    assert errors("", h=COMMAND + hook) == ["hooks.d/h.toml: " + error]


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        ('[retry]\nbackoff = "0s"', f'retry.backoff: found "0s"; allowed: {TIME % "0.001 s"}'),
        (
            '[retry]\nbackoff = "20s"\nmax_backoff = "10s"',
            "retry.max_backoff: found 10 s, below retry.backoff; allowed: at least 20 s",
        ),
        (
            "[retry]\nquarantine_after = -1",
            "retry.quarantine_after: found -1; allowed: a whole number from 0 to 1000000",
        ),
        (
            '[limits]\ntimeout = "infinity"',
            f'limits.timeout: found "infinity"; allowed: {TIME % "0.001 s"}',
        ),
        (
            '[limits]\ntimeout = "40000d"',
            f'limits.timeout: found "40000d"; allowed: {TIME % "0.001 s"}',
        ),
        (
            '[limits]\nkill_grace = "-1s"',
            f'limits.kill_grace: found "-1s"; allowed: {TIME % "0 s"}',
        ),
        (
            '[limits]\ncpu_time = "5 m x"',
            f'limits.cpu_time: found "5 m x"; allowed: {TIME % "1 s"}',
        ),
        ('[limits]\nmemory = "1K"', f'limits.memory: found "1K"; allowed: {SIZE % 1048576}'),
        ('[limits]\noutput = "1.5M"', f'limits.output: found "1.5M"; allowed: {SIZE % 0}'),
        (
            '[limits]\nfile_size = "8388608T"',
            f'limits.file_size: found "8388608T"; allowed: {SIZE % 0}',
        ),
        (
            "[limits]\nopen_files = 7",
            "limits.open_files: found 7; allowed: a whole number from 8 to 1048576",
        ),
        (
            "[limits]\nprocesses = 0",
            "limits.processes: found 0; allowed: a whole number from 1 to 4194304",
        ),
        ("[limits]\nnice = 20", "limits.nice: found 20; allowed: a whole number from -20 to 19"),
        (
            '[limits]\nio_class = "low"',
            'limits.io_class: found "low"; allowed: "none", "realtime", "best-effort" or "idle"',
        ),
        (
            "[limits]\ncpu_affinity = [0, -1]",
            "limits.cpu_affinity: found [0, -1]; allowed: a list of CPU numbers that is not empty",
        ),
        (
            "[limits]\ncpu_affinity = []",
            "limits.cpu_affinity: found []; allowed: a list of CPU numbers that is not empty",
        ),
        (
            "[limits]\ncpu_weight = 10001",
            "limits.cpu_weight: found 10001; allowed: a whole number from 1 to 10000",
        ),
    ],
)
def test_retry_and_limits(hook: str, error: str) -> None:
    assert errors("", h=COMMAND + hook) == ["hooks.d/h.toml: " + error]


def test_text_that_is_no_toml() -> None:
    assert errors("", h="command = ") == [
        "hooks.d/h.toml: not TOML: Invalid value (at end of document)"
    ]
    assert errors("[a]\n[a]\n") == [
        "hookd.toml: not TOML: Cannot declare ('a',) twice (at line 2, column 3)"
    ]
    nested = "nested too deeply; allowed: tables of keys and values"
    assert errors("x = " + "[" * 5000) == [f"hookd.toml: {nested}"]
    with pytest.raises(ConfigError) as error:
        parse([Source("f", "h", b'command = "/x \xff"')])
    assert error.value.errors == ["f: byte 14: not UTF-8; allowed: TOML in UTF-8"]


def test_values_without_end() -> None:
    (error,) = errors("[daemon]\nmax_running = " + "9" * 5000)
    assert error.startswith("hookd.toml: not TOML: Exceeds the limit (4300 digits)")
    deep = "command" + ".a" * 1500 + " = 1"
    (error,) = errors("", h=deep)  # how much of it can be shown is up to the Python version
    assert error.startswith("hooks.d/h.toml: command: found ")
    assert error.endswith("; allowed: an absolute program and its arguments, as text")
    assert errors("", h=f"command = {['x' * 100]}") == [
        f'hooks.d/h.toml: command: found ["{"x" * 75}...; '
        "allowed: an absolute program and its arguments, as text"
    ]


def test_all_errors_of_all_files_at_once() -> None:
    found = errors(
        "[daemon]\ndrain = 1\n[defaults]\norder = ''", a="x = 1", b="[run", c="[limits]\nnice = 99"
    )
    assert [error.partition(": found")[0] for error in found] == [
        "hookd.toml: daemon.drain",
        "hookd.toml: defaults.order",
        "hooks.d/a.toml: x",
        "hooks.d/a.toml: command: missing; allowed: an absolute program and its arguments",
        "hooks.d/b.toml: not TOML: Expected ']' at the end of a table declaration "
        "(at end of document)",
        "hooks.d/c.toml: limits.nice",
        "hooks.d/c.toml: command: missing; allowed: an absolute program and its arguments",
    ]
