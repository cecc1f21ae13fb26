# SPDX-License-Identifier: LGPL-2.1-or-later
"""Order within a job and none between jobs; runs of one hook that are in each other's way."""

from __future__ import annotations

import pytest

from tests.durability.hooks import ended, let_go, noted, noting, running, waiting
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import Wire

START = 'phases = ["start"]\n'


def test_end_hooks_wait_for_the_start_hooks_of_their_job_alone(daemon: Daemon) -> None:
    waiting(daemon, "slow", START + '[match]\nprofile = ["one"]\n')
    noting(daemon, "note", 'phases = ["end"]\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.end(job_id=wire.start(profile="one")["job_id"])
        running(daemon)
        wire.end(job_id=wire.start(profile="two")["job_id"])
        ended(wire, 2, runs=1)
        assert [run["state"] for run in wire.job(1)["hooks"]] == ["running", "waiting"]
        let_go(daemon, "slow")
        ended(wire, 1, runs=2)
    assert noted(daemon) == ["1 start slow 1", "2 end note 1", "1 end note 1"]


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
def test_overlap_by_key(daemon: Daemon, overlap: str, key: str) -> None:
    """Job 2 is in the way of job 1 by every key; job 3 differs in all that `key` looks at."""
    waiting(daemon, "hook", START + f'[run]\noverlap = "{overlap}"\noverlap_key = "{key}"\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
        wire.start()
        if key != "hook":
            wire.start(**KEYS[key])
            eventually(lambda: "3 start hook 1" in noted(daemon))
        if overlap == "replace":
            eventually(lambda: "2 start hook 1" in noted(daemon))
        let_go(daemon, "hook")
        runs = [ended(wire, job, runs=1)[0] for job in (1, 2)]
    found = [(run["result"], run["reason"]) for run in runs]
    assert (
        found
        == {
            "serial": [("success", None), ("success", None)],
            "skip": [("success", None), ("skipped", "run 1 has not ended")],
            "replace": [("cancelled", "replaced by run 2"), ("success", None)],
        }[overlap]
    )
    if overlap == "serial":
        assert runs[1]["started_usec"] >= runs[0]["ended_usec"]


def test_a_replacement_takes_the_place_of_what_still_waits(daemon: Daemon) -> None:
    waiting(daemon, "hook", START + '[run]\noverlap = "replace"\nmax_running = 1\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        for _ in range(20):
            wire.start()
        let_go(daemon, "hook")
        runs = [ended(wire, job, runs=1)[0] for job in range(1, 21)]
    assert [run["result"] for run in runs] == ["cancelled"] * 19 + ["success"]
    for number, run in enumerate(runs[:-1], 1):
        assert run["reason"] == f"replaced by run {number + 1}"


@pytest.mark.parametrize("obsolete", ["run", "skip"])
def test_a_start_hook_whose_job_has_ended_before_its_turn(daemon: Daemon, obsolete: str) -> None:
    waiting(daemon, "slow", START + f'obsolete = "{obsolete}"\n[run]\nmax_running = 1\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
        wire.end(job_id=wire.start()["job_id"])
        let_go(daemon, "slow")
        (run,) = ended(wire, 2, runs=1)
    if obsolete == "run":
        assert run["result"] == "success"
    else:
        assert (run["result"], run["reason"]) == ("skipped", "its job has ended before its turn")
        assert noted(daemon) == ["1 start slow 1"]
