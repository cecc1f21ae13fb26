# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is bounded: runs at a time, runs that wait; and the answers that come all the same."""

from __future__ import annotations

from tests.durability.hooks import ended, let_go, noting, reload, running, waiting
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.wire import JOB, Wire

START = 'phases = ["start"]\n'


def configure(daemon: Daemon, text: str) -> None:
    (daemon.directory / "hookd.toml").write_text(f"[daemon]\n{text}\n")


def test_a_full_queue_refuses_and_says_when_to_try_again(common: Daemon) -> None:
    configure(common, "max_queue = 3\nmax_running = 2")
    waiting(common, "slow", START + "[run]\nmax_running = 2\n")
    noting(common, "ends", 'phases = ["end"]\n[match]\nprofile = ["other"]\n')
    reload(common)
    with Wire(common.socket) as wire:
        jobs = [wire.start()["job_id"] for _ in range(2)]
        running(common, 2)
        jobs += [wire.start()["job_id"] for _ in range(3)]
        name, values = wire.error("StartJob", JOB)
        assert name == "io.hookd.Jobs.QueueFull"
        assert values["retry_after_msec"] > 0
        assert wire.end(job_id=jobs[0])["hooks"] == []  # what makes no run needs no room
        assert wire.status()["waiting"] == 3
        let_go(common, "slow")
        for job in jobs:
            ended(wire, job, runs=1)
        assert wire.start()["job_id"] == jobs[-1] + 1  # the refused one had no number


def test_a_full_queue_is_full_after_a_crash_too(daemon: Daemon) -> None:
    configure(daemon, "max_queue = 2\nmax_running = 1")
    waiting(daemon, "slow", START + '[run]\non_crash = "rerun"\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
        wire.end(job_id=1)
        for _ in range(2):
            wire.start()
        assert wire.error("StartJob", JOB)[0] == "io.hookd.Jobs.QueueFull"
    daemon.kill()
    daemon.start()
    with Wire(daemon.socket) as wire:
        eventually(lambda: wire.status()["waiting"] >= 2)
        assert wire.error("StartJob", JOB)[0] == "io.hookd.Jobs.QueueFull"
        let_go(daemon, "slow")
        ended(wire, 3, runs=1)
        assert wire.start()["job_id"] == 4


def test_a_lost_job_needs_no_room(common: Daemon) -> None:
    configure(common, "max_queue = 1\nmax_running = 1")
    waiting(common, "slow", START)
    noting(common, "lost", 'phases = ["end"]\n[match]\noutcome = ["lost"]\n')
    reload(common)
    with Wire(common.socket) as wire:
        with Wire(common.socket) as tied:
            job = tied.start(tie=True)["job_id"]
            running(common)
            wire.start()
            assert wire.error("StartJob", JOB)[0] == "io.hookd.Jobs.QueueFull"
        eventually(lambda: wire.job(job)["outcome"] == "lost")
        let_go(common, "slow")
        assert ended(wire, job, runs=2)[1]["hook"] == "lost"


def test_no_more_run_at_a_time_than_allowed_in_all_and_of_one_hook(common: Daemon) -> None:
    configure(common, "max_running = 3")
    waiting(common, "greedy", START + "[run]\nmax_running = 2\n")
    waiting(common, "other", START + "[run]\nmax_running = 3\n")
    reload(common)
    with Wire(common.socket) as wire:
        jobs = [wire.start()["job_id"] for _ in range(6)]
        running(common, 3)
        hooks = {h["name"]: h for h in wire.call("io.hookd.Manager.ListHooks")["hooks"]}
        assert hooks["greedy"]["running"] <= 2
        assert hooks["other"]["running"] >= 1
        assert wire.status()["running"] == 3
        let_go(common, "other")
        eventually(lambda: [wire.status()[key] for key in ("running", "waiting")] == [2, 4])
        let_go(common, "greedy")
        for job in jobs:
            ended(wire, job, runs=2)
