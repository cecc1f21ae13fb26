# SPDX-License-Identifier: LGPL-2.1-or-later
"""The values of a hook's own environment are the hook's alone: nobody is told them, in no way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from hookd.config.template import MAX_WORD
from tests.durability.hooks import let_go, noting, running, waiting
from tests.support.daemon import Daemon
from tests.support.records import Records
from tests.support.wire import JOB, Wire

SECRET = "correct-horse-battery-staple"
HOOK = f'[run]\nenvironment = {{ TOKEN = "{SECRET}" }}\n'
MANAGER = "io.hookd.Manager."


def told(wire: Wire) -> list[str]:
    """Return all that the methods answer."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("ListHooks", {}),
        ("GetStatus", {}),
        ("ListJobs", {}),
        ("GetMetrics", {}),
        ("Explain", {"job_id": 1}),
        ("TestHook", {"hook": "slow", "phase": "start", "dry_run": True}),
        ("TestHook", {"hook": "quick", "phase": "end"}),
    ]
    return [json.dumps(wire.call(MANAGER + name, asked)) for name, asked in calls]


def command_lines() -> str:
    """Return what ps(1) shows of all processes."""
    found = []
    for process in psutil.process_iter():
        try:
            found += process.cmdline()
        except psutil.Error:
            continue
    return "\0".join(found)


def kept(directory: Path) -> bytes:
    """Return all that is on disk of the database."""
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()))


def test_a_secret_of_a_hook_is_told_nobody(
    daemon: Daemon, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/hookd.service")
    check = f'[ "$TOKEN" = {SECRET} ] && [ -z "$CREDENTIALS_DIRECTORY" ] || exit 7'
    waiting(daemon, "slow", f'phases = ["start"]\n{HOOK}', check)
    noting(daemon, "quick", f'phases = ["end"]\n{HOOK}', check)
    daemon.start()
    with Wire(daemon.socket) as wire, Wire(daemon.socket) as feed:
        feed.send(MANAGER + "Subscribe", {}, more=True)
        wire.start()
        running(daemon)
        assert "quick" in command_lines() or "slow" in command_lines()
        assert SECRET not in command_lines()
        let_go(daemon, "slow")
        runs = wire.end(job_id=1, wait=True)["hooks"] + wire.job(1)["hooks"]
        assert {run["result"] for run in runs} == {"success"}
        answers = [json.dumps(runs), *told(wire), json.dumps(feed.receive())]
    assert daemon.stop() == 0
    assert [answer for answer in answers if SECRET in answer] == []
    assert SECRET.encode() not in kept(daemon.directory / "state")
    seen = records.find(SYSLOG_IDENTIFIER="hookd")
    assert seen and SECRET not in repr(seen)
    assert SECRET not in daemon.said()


@pytest.fixture(scope="module")
def shared_hookd(shared: Daemon) -> Daemon:
    """Return a daemon whose one hook, `h`, each test writes anew."""
    shared.start()
    return shared


@pytest.mark.parametrize(
    "environment",
    [
        f'{{ TOKEN = ["{SECRET}"] }}',
        f'{{ TOKEN = "{SECRET}\\u0000" }}',
        f'"{SECRET}"',
        f'{{ TOKEN = "{SECRET}", HOOKD_X = "" }}',
        f'{{ TOKEN = "{SECRET}" ',
    ],
)
def test_no_error_of_the_configuration_repeats_a_secret(
    shared_hookd: Daemon, records: Records, environment: str
) -> None:
    shared_hookd.hook("h", f'command = "/bin/true"\n[run]\nenvironment = {environment}\n')
    with Wire(shared_hookd.socket) as wire:
        error, parameters = wire.error(MANAGER + "Reload")
    assert error.endswith("InvalidConfiguration") and SECRET not in json.dumps(parameters)
    assert SECRET not in repr(records.find(SYSLOG_IDENTIFIER="hookd")) + shared_hookd.said()


def test_a_variable_that_is_too_long_is_named_without_its_value(shared_hookd: Daemon) -> None:
    long = SECRET * (MAX_WORD // len(SECRET) + 1)
    shared_hookd.hook("h", f'command = "/bin/true"\n[run]\nenvironment = {{ TOKEN = "{long}" }}\n')
    with Wire(shared_hookd.socket) as wire:
        wire.call(MANAGER + "Reload")
        (run,) = wire.call("StartJob", JOB | {"wait": True})["hooks"]
    assert run["reason"].startswith("variable TOKEN is too long: ")
    assert SECRET not in run["reason"] + shared_hookd.said()
