# SPDX-License-Identifier: LGPL-2.1-or-later
"""The server dies, the runner dies, both die: what becomes of runs that go on or wait."""

from __future__ import annotations

import psutil
import pytest

from hookd.system.records import RUN_INTERRUPTED, WORK_RESTORED
from tests.durability.hooks import ended, let_go, noted, running, waiting
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import Wire

START = 'phases = ["start"]\n'


def alive(daemon: Daemon) -> int:
    """Return how many hooks are alive; one that has just forked looks like two."""
    marks = {str(daemon.directory / name) for name in ("slow", "slow-again")}
    found = psutil.process_iter(["cmdline", "ppid"])
    parents = {
        one.pid: one.info["ppid"] for one in found if marks & {*(one.info["cmdline"] or [])}
    }
    return sum(parent not in parents for parent in parents.values())


@pytest.mark.parametrize("victims", ["runner", "both"])
def test_a_runner_that_dies(
    daemon: Daemon, runner: RunnerUnit, records: Records, victims: str
) -> None:
    one_at_a_time = START + "[run]\nmax_running = 1\n"
    waiting(daemon, "slow", one_at_a_time)
    waiting(daemon, "slow-again", one_at_a_time + 'on_crash = "rerun"\n')
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        for _ in range(2):
            wire.start()
        running(daemon, 2)
    runner.kill()
    if victims == "both":
        daemon.kill()
    eventually(lambda: alive(daemon) == 0)
    let_go(daemon, "slow")
    let_go(daemon, "slow-again")
    runner.start()
    if victims == "both":
        daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        runs = ended(wire, 1, runs=3)
        others = ended(wire, 2, runs=2)
    interrupted = [run for run in runs if run["attempt"] == 1]
    assert [(run["hook"], run["result"]) for run in interrupted] == [
        ("slow", "interrupted"),
        ("slow-again", "interrupted"),
    ]
    assert all("runner" in run["reason"] for run in interrupted)
    assert (runs[2]["hook"], runs[2]["result"], runs[2]["attempt"]) == ("slow-again", "success", 2)
    assert [(run["result"], run["attempt"]) for run in others] == [("success", 1)] * 2
    told = records.find(MESSAGE_ID=RUN_INTERRUPTED.message_id)
    assert [int(record["HOOKD_RUN_ID"]) for record in told] == [
        run["run_id"] for run in interrupted
    ]
    assert len(noted(daemon)) == len(set(noted(daemon))) == 5


def test_a_hook_that_takes_the_runner_down_is_not_run_for_ever(
    daemon: Daemon, runner: RunnerUnit
) -> None:
    waiting(daemon, "slow", START + '[run]\non_crash = "rerun"\n')
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        wire.start()
        for times in range(1, 7):
            running(daemon, times)
            runner.kill()
            runner.start()
        runs = ended(wire, 1, runs=6)
    assert [run["result"] for run in runs] == ["interrupted"] * 6


def test_a_server_that_dies_again_and_again_disturbs_no_hook(
    daemon: Daemon, runner: RunnerUnit, records: Records
) -> None:
    waiting(daemon, "slow", START + "[run]\nmax_running = 3\n", "exit 3")
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        for _ in range(6):
            wire.start()
        running(daemon, 3)
    for _ in range(3):
        daemon.kill()
        assert alive(daemon) == 3
        daemon.start(*runner.arguments)
    daemon.kill()
    let_go(daemon, "slow")
    eventually(lambda: alive(daemon) == 0)
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        runs = [ended(wire, job, runs=1)[0] for job in range(1, 7)]
    assert {(r["result"], r["exit_status"], r["attempt"]) for r in runs} == {("failed", 3, 1)}
    assert len(noted(daemon)) == 6
    assert len(records.find(MESSAGE_ID=WORK_RESTORED.message_id)) == 4


def test_a_cancel_reaches_a_run_on_its_way_to_the_runner(
    daemon: Daemon, runner: RunnerUnit
) -> None:
    waiting(daemon, "slow", START)
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        for job in range(1, 51):
            wire.start()
            wire.call("io.hookd.Manager.Cancel", {"job_id": job})
        results = [ended(wire, job, runs=1)[0]["result"] for job in range(1, 51)]
    assert results == ["cancelled"] * 50


def test_own_runner_ends_its_hooks_when_the_server_is_killed(daemon: Daemon) -> None:
    waiting(daemon, "slow", START)
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
    daemon.kill()
    eventually(lambda: alive(daemon) == 0)
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert ended(wire, 1, runs=1)[0]["result"] == "interrupted"
