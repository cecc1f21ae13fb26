# SPDX-License-Identifier: LGPL-2.1-or-later
"""Accounts and programs are those of the moment of each run, not of the moment of the load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.durability.hooks import ended
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import Wire

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs hooks as other users")
OWN_FILES = 'for name in passwd group; do mount --bind "$0/$name" /etc/$name; done; exec "$@"'
SHOW = "/bin/sh -c 'id -u; id -g; id -G; echo $$SHELL; echo $$HOME; echo $$LOGNAME'"


class Accounts:
    """passwd(5) and group(5) of one runner alone: bound over the system's for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.prefix = [
            *("unshare", "--mount", "--propagation", "private"),
            *("sh", "-ec", OWN_FILES, str(directory)),
        ]
        self.write("passwd", "carol:x:54321:54321::/no/home:/usr/sbin/nologin\n")
        self.write("group", "carol:x:54321:\nextra:x:54322:\n")

    def write(self, name: str, lines: str) -> None:
        """Add these lines to the system's file, in the place of those of before."""
        (self.directory / name).write_text(Path("/etc", name).read_text() + lines)


def run(wire: Wire) -> dict[str, Any]:
    """Return the run of the one hook, for a job of its own."""
    [found] = ended(wire, wire.start()["job_id"], 1)
    return found


def printed(wire: Wire, records: Records) -> list[str]:
    """Return what the hook prints now."""
    found = run(wire)
    assert found["result"] == "success", found
    said = records.find(SYSLOG_IDENTIFIER="show", HOOKD_RUN_ID=found["run_id"])
    return [record["MESSAGE"] for record in said]


@needs_root
def test_a_user_that_changes_after_the_load(
    daemon: Daemon, runner: RunnerUnit, records: Records
) -> None:
    accounts = Accounts(daemon.directory)
    runner.prefix = accounts.prefix
    daemon.hook("show", f'command = "{SHOW}"\nphases = ["start"]\nrun.user = "carol"\n')
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        usual = ["54321", "54321", "54321", "/bin/sh", "/no/home", "carol"]
        assert printed(wire, records) == usual
        accounts.write("group", "carol:x:54321:\nextra:x:54322:carol\n")
        usual[2] = "54321 54322"
        eventually(lambda: printed(wire, records) == usual)
        accounts.write("passwd", "")
        eventually(lambda: run(wire)["result"] == "spawn-failed")
        found = run(wire)
        assert found["started_usec"] is None
        assert found["reason"] == "run.user: no user 'carol' on this machine"
        assert wire.status()["unusable_hooks"] == {"show": found["reason"]}
        accounts.write("passwd", "carol:x:54321:54321::/root:/bin/bash\n")
        usual[3:5] = ["/bin/bash", "/root"]
        eventually(lambda: run(wire)["result"] == "success")
        assert printed(wire, records) == usual
        assert wire.status()["unusable_hooks"] == {}


@needs_root
@pytest.mark.parametrize(
    ("group", "expected"), [("extra", "54322"), ("54322", "54322"), ("carol", "54321")]
)
def test_a_group_by_name_or_number(
    daemon: Daemon, runner: RunnerUnit, records: Records, group: str, expected: str
) -> None:
    runner.prefix = Accounts(daemon.directory).prefix
    text = f'command = "{SHOW}"\nphases = ["start"]\nrun.user = "carol"\nrun.group = "{group}"\n'
    daemon.hook("show", text)
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        assert printed(wire, records)[:3] == ["54321", expected, expected]


@needs_root
def test_a_group_that_does_not_exist(daemon: Daemon, runner: RunnerUnit) -> None:
    runner.prefix = Accounts(daemon.directory).prefix
    text = f'command = "{SHOW}"\nphases = ["start"]\nrun.user = "carol"\nrun.group = "nosuch"\n'
    daemon.hook("show", text)
    runner.start()
    daemon.start(*runner.arguments)
    reason = "run.group: no group 'nosuch' on this machine"
    with Wire(daemon.socket) as wire:
        assert wire.status()["unusable_hooks"] == {"show": reason}
        found = run(wire)
        assert (found["result"], found["reason"]) == ("spawn-failed", reason)


@pytest.mark.parametrize("kill", ["runner", "both"])
def test_a_missing_program_at_a_start_costs_its_hook_alone(
    daemon: Daemon, runner: RunnerUnit, records: Records, kill: str
) -> None:
    program = daemon.script("program", "")
    daemon.hook("gone", f'command = "{program}"\nphases = ["start"]\n')
    daemon.hook("good", 'command = "/bin/true"\nphases = ["start"]\n')
    runner.start()
    daemon.start(*runner.arguments)
    program.rename(daemon.directory / "away")
    runner.kill()
    if kill == "both":
        daemon.kill()
    runner.start()
    if kill == "both":
        daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        eventually(lambda: wire.status()["unusable_hooks"])
        for _ in range(2):
            runs = {run["hook"]: run for run in ended(wire, wire.start()["job_id"], 2)}
            assert runs["good"]["result"] == "success"
            assert runs["gone"]["result"] == "spawn-failed"
            assert runs["gone"]["reason"] == f"{program} does not exist"
        (daemon.directory / "away").rename(program)
        runs = {run["hook"]: run for run in ended(wire, wire.start()["job_id"], 2)}
        assert runs["gone"]["result"] == "success"
        assert wire.status()["unusable_hooks"] == {}
    said = records.find(SYSLOG_IDENTIFIER="hookd", HOOKD_HOOK="gone")
    words = [r["MESSAGE"] for r in said if "cannot be run" in r["MESSAGE"]]
    assert len(words) == 1, words
