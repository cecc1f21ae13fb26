# SPDX-License-Identifier: LGPL-2.1-or-later
"""What server and runner do not take from one another, or from anybody else."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.durability.hooks import ended, noted, noting
from tests.support.daemon import Daemon
from tests.support.database import handed_over
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.runner import PYTHON
from tests.support.runner_unit import RunnerUnit
from tests.support.stall import Stall
from tests.support.wire import Wire

CONNECT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect(sys.argv[1])
    sys.stdout.buffer.write(peer.recv(100))
"""


def test_two_configurations_start_nothing(daemon: Daemon, runner: RunnerUnit) -> None:
    noting(daemon, "hook", 'phases = ["start"]\n')
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        ended(wire, wire.start()["job_id"], 1)
        noting(daemon, "hook", 'phases = ["start"]\norder = 7\n')
        assert runner.process is not None
        runner.process.send_signal(signal.SIGHUP)  # the runner alone
        eventually(lambda: not wire.status()["healthy"])
        (problem,) = wire.status()["problems"]
        assert problem.startswith("no hook starts, the runner's configuration differs: ")
        job = wire.start()["job_id"]
        assert wire.job(job)["hooks"][0]["state"] == "waiting"
        # Given to the runner with the event, or never: so nothing is still on its way there.
        assert handed_over(daemon.directory / "state/hookd.db") == 1
        assert len(noted(daemon)) == 1
        wire.call("io.hookd.Manager.Reload")
        ended(wire, job, 1)
        assert wire.status()["healthy"]


def test_a_reload_under_way_keeps_nothing_from_starting(
    daemon: Daemon, runner: RunnerUnit, stall: Stall
) -> None:
    noting(daemon, "hook", 'phases = ["start"]\n')
    daemon.prefix = runner.prefix = stall.prefix
    runner.start()
    daemon.start(*runner.arguments)
    daemon.hook("stuck", f'command = "{stall.path}/program"\n')
    with Wire(daemon.socket) as wire, Wire(daemon.socket) as other:
        wire.send("io.hookd.Manager.Reload")
        for _ in range(3):
            ended(other, other.start()["job_id"], 1)
        assert "no answer" in json.dumps(wire.receive())
        ended(other, other.start()["job_id"], 1)


def test_what_only_the_runner_has_read_is_not_used(daemon: Daemon, runner: RunnerUnit) -> None:
    noting(daemon, "hook", 'phases = ["start"]\n')
    own = daemon.directory / "own"  # as if the files changed whenever both have read them
    shutil.copytree(daemon.directory / "hooks.d", own / "hooks.d")
    runner.configuration = Path(shutil.copy(daemon.directory / "hookd.toml", own))
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        ended(wire, wire.start()["job_id"], 1)
        with (own / "hooks.d" / "hook.toml").open("a") as file:
            file.write("order = 8\n")
        _, said = wire.error("io.hookd.Manager.Reload")
        assert said["errors"] == ["the files changed while they were read; try again"]
        assert wire.status()["healthy"]
        ended(wire, wire.start()["job_id"], 1)  # both go on with what they had


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user at hand")
def test_another_user_may_not_be_the_server(runner: RunnerUnit, records: Records) -> None:
    runner.start()
    runner.directory.chmod(0o755)
    runner.socket.chmod(0o666)
    mallory = pwd.getpwnam("daemon")
    heard = subprocess.run(
        [PYTHON, "-c", CONNECT, runner.socket],
        user=mallory.pw_uid,
        group=mallory.pw_gid,
        extra_groups=[],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert heard == b""
    said = [record["MESSAGE"] for record in records.find(SYSLOG_IDENTIFIER="hookd")]
    assert [line for line in said if f"a process of uid {mallory.pw_uid} may not use" in line]
