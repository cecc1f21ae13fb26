# SPDX-License-Identifier: LGPL-2.1-or-later
"""Order within a job and none between jobs; runs of one hook that are in each other's way."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.durability.hooks import (
    ended,
    let_go,
    noted,
    noting,
    reload,
    running,
    waiting,
)
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import Wire

START = 'phases = ["start"]\n'


def test_end_hooks_wait_for_the_start_hooks_of_their_job_alone(common: Daemon) -> None:
    waiting(common, "slow", START + '[match]\nprofile = ["one"]\n')
    noting(common, "note", 'phases = ["end"]\n')
    reload(common)
    with Wire(common.socket) as wire:
        one = wire.start(profile="one")["job_id"]
        wire.end(job_id=one)
        running(common)
        two = wire.start(profile="two")["job_id"]
        wire.end(job_id=two)
        ended(wire, two, runs=1)
        assert [run["state"] for run in wire.job(one)["hooks"]] == ["running", "waiting"]
        let_go(common, "slow")
        ended(wire, one, runs=2)
    assert noted(common) == [f"{one} start slow 1", f"{two} end note 1", f"{one} end note 1"]


def test_the_order_within_a_job_survives_a_crash(daemon: Daemon, runner: RunnerUnit) -> None:
    waiting(daemon, "slow", START)
    noting(daemon, "note", 'phases = ["end"]\n')
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        wire.end(job_id=wire.start()["job_id"])
        running(daemon)
    daemon.kill()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        eventually(lambda: wire.status()["running"] == 1)
        assert noted(daemon) == ["1 start slow 1"]
        let_go(daemon, "slow")
        ended(wire, 1, runs=2)
    assert noted(daemon) == ["1 start slow 1", "1 end note 1"]


KEYS = {
    "hook": {},
    "profile": {"profile": "Q"},
    "user": {"user": "v"},
    "client": {"client_ip": "::9"},
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("overlap", ["serial", "skip", "replace"])
def test_overlap_by_key(common: Daemon, overlap: str, key: str) -> None:
    """Job 2 is in the way of job 1 by every key; job 3 differs in all that `key` looks at."""
    waiting(common, "hook", START + f'[run]\noverlap = "{overlap}"\noverlap_key = "{key}"\n')
    reload(common)
    with Wire(common.socket) as wire:
        job_1 = wire.start()["job_id"]
        running(common)
        job_2 = wire.start()["job_id"]
        if key != "hook":
            job_3 = wire.start(**KEYS[key])["job_id"]
            eventually(lambda: f"{job_3} start hook 1" in noted(common))
        if overlap == "replace":
            eventually(lambda: f"{job_2} start hook 1" in noted(common))
        let_go(common, "hook")
        runs = [ended(wire, job, runs=1)[0] for job in (job_1, job_2)]
    first, second = (run["run_id"] for run in runs)
    found = [(run["result"], run["reason"]) for run in runs]
    assert (
        found
        == {
            "serial": [("success", None), ("success", None)],
            "skip": [("success", None), ("skipped", f"run {first} has not ended")],
            "replace": [("cancelled", f"replaced by run {second}"), ("success", None)],
        }[overlap]
    )
    if overlap == "serial":
        assert runs[1]["started_usec"] >= runs[0]["ended_usec"]


def test_a_replacement_takes_the_place_of_what_still_waits(common: Daemon) -> None:
    waiting(common, "hook", START + '[run]\noverlap = "replace"\nmax_running = 1\n')
    reload(common)
    with Wire(common.socket) as wire:
        jobs = [wire.start()["job_id"] for _ in range(20)]
        let_go(common, "hook")
        runs = [ended(wire, job, runs=1)[0] for job in jobs]
    assert [run["result"] for run in runs] == ["cancelled"] * 19 + ["success"]
    for run, later in pairwise(runs):
        assert run["reason"] == f"replaced by run {later['run_id']}"


@pytest.mark.parametrize("obsolete", ["run", "skip"])
def test_a_start_hook_whose_job_has_ended_before_its_turn(common: Daemon, obsolete: str) -> None:
    waiting(common, "slow", START + f'obsolete = "{obsolete}"\n[run]\nmax_running = 1\n')
    reload(common)
    with Wire(common.socket) as wire:
        first = wire.start()["job_id"]
        running(common)
        second = wire.start()["job_id"]
        wire.end(job_id=second)
        let_go(common, "slow")
        (run,) = ended(wire, second, runs=1)
    if obsolete == "run":
        assert run["result"] == "success"
    else:
        assert (run["result"], run["reason"]) == ("skipped", "its job has ended before its turn")
        assert noted(common) == [f"{first} start slow 1"]
