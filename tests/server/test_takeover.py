# SPDX-License-Identifier: LGPL-2.1-or-later
"""The server may be killed at any moment: its hooks do not notice, their results are not lost."""

from __future__ import annotations

from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import Wire


def test_a_killed_server_finds_the_result_of_a_hook_it_did_not_see_end(
    daemon: Daemon, runner: RunnerUnit
) -> None:
    gate = daemon.directory / "gate"
    script = daemon.script("wait", f"echo begun\nuntil [ -e {gate} ]; do sleep 0.05; done\nexit 3")
    daemon.hook("wait", f'command = "{script}"\nphases = ["start"]\n')
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        wire.start()
        eventually(lambda: wire.job(1)["hooks"][0]["state"] == "running")
        before = wire.job(1)["hooks"][0]
    daemon.kill()
    gate.touch()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        after = eventually(lambda: (run := wire.job(1)["hooks"][0])["result"] and run)
    assert (after["result"], after["exit_status"]) == ("failed", 3)
    assert after["run_id"] == before["run_id"]
    assert after["started_usec"] == before["started_usec"]
    assert after["output_bytes"] == len("begun\n")
    assert after["cpu_usec"] > 0
    assert after["duration_usec"] > 0


def test_a_hook_that_still_runs_is_attached_to(daemon: Daemon, runner: RunnerUnit) -> None:
    gate = daemon.directory / "gate"
    script = daemon.script("wait", f"until [ -e {gate} ]; do sleep 0.05; done\n")
    daemon.hook("wait", f'command = "{script}"\nphases = ["start"]\n')
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        wire.start()
        eventually(lambda: wire.status()["running"] == 1)
    daemon.kill()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        eventually(lambda: wire.job(1)["hooks"][0]["state"] == "running")
        gate.touch()
        run = eventually(lambda: (run := wire.job(1)["hooks"][0])["result"] and run)
    assert (run["result"], run["attempt"]) == ("success", 1)
