# SPDX-License-Identifier: LGPL-2.1-or-later
"""The server dies, the runner dies, both die: what becomes of runs that go on or wait."""

from __future__ import annotations

import psutil
import pytest

from hookd.records import BOOKS_RESTORED, RUN_INTERRUPTED
from tests.durability.hooks import ended, let_go, noted, running, waiting
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import Wire

START = 'phases = ["start"]\n'


def alive(daemon: Daemon) -> int:
    """Return how many hooks are alive; one that has just forked looks like two."""
    mark = str(daemon.directory / "slow")
    found = psutil.process_iter(["cmdline", "ppid"])
    parents = {one.pid: one.info["ppid"] for one in found if mark in (one.info["cmdline"] or [])}
    return sum(parent not in parents for parent in parents.values())


@pytest.mark.parametrize("on_crash", ["report", "rerun"])
@pytest.mark.parametrize("victims", ["runner", "both"])
def test_a_runner_that_dies(
    daemon: Daemon, runner: RunnerUnit, records: Records, victims: str, on_crash: str
) -> None:
    waiting(daemon, "slow", START + f'[run]\nmax_running = 1\non_crash = "{on_crash}"\n')
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        for _ in range(2):
            wire.start()
        running(daemon)
    runner.kill()
    if victims == "both":
        daemon.kill()
    eventually(lambda: alive(daemon) == 0)
    let_go(daemon, "slow")
    runner.start()
    if victims == "both":
        daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        runs = ended(wire, 1, runs=1 if on_crash == "report" else 2)
        (other,) = ended(wire, 2, runs=1)
    assert (runs[0]["result"], runs[0]["attempt"]) == ("interrupted", 1)
    assert "runner" in runs[0]["reason"]
    assert [(r["result"], r["attempt"]) for r in runs[1:]] == [("success", 2)] * (len(runs) - 1)
    assert (other["result"], other["attempt"]) == ("success", 1)
    told = records.find(MESSAGE_ID=RUN_INTERRUPTED.message_id)
    assert [int(record["HOOKD_RUN_ID"]) for record in told] == [runs[0]["run_id"]]
    assert len(noted(daemon)) == len(set(noted(daemon))) == len(runs) + 1


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
    assert len(records.find(MESSAGE_ID=BOOKS_RESTORED.message_id)) == 4


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
