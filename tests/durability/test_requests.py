# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests that are sent again, twice, or out of turn."""

from __future__ import annotations

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
from tests.support.wire import END, JOB, Wire

GATE = 'kind = "gate"\nphases = ["start"]\n'


def test_the_same_request_is_answered_as_the_first_was(common: Daemon) -> None:
    noting(common, "note")
    reload(common)
    with Wire(common.socket) as wire:
        first = wire.start(request_id="same start")
        again = wire.start(request_id="same start")
        assert (first["duplicate"], again["duplicate"]) == (False, True)
        job = first["job_id"]
        assert again["job_id"] == job
        (run,) = first["hooks"]
        assert [hook["run_id"] for hook in again["hooks"]] == [run["run_id"]]
        for duplicate in (False, True):
            assert wire.end(job_id=job, request_id="same end")["duplicate"] is duplicate
        ended(wire, job, runs=2)
    assert noted(common) == [f"{job} start note 1", f"{job} end note 1"]


@pytest.mark.parametrize("change", [{"profile": "Q"}, {"user": "v"}, {"attributes": {"a": "b"}}])
def test_other_content_under_the_same_id_is_a_conflict(
    common: Daemon, change: dict[str, object]
) -> None:
    request = {"request_id": f"conflict of {change}"}
    with Wire(common.socket) as wire:
        job = wire.start(**request)["job_id"]
        name, values = wire.error("StartJob", JOB | request | change)
        assert (name, values["job_id"]) == ("io.hookd.Jobs.RequestIdConflict", job)
        name, _ = wire.error("EndJob", END | {"job_id": job} | request)
        assert name == "io.hookd.Jobs.RequestIdConflict"
        assert wire.job(job)["state"] == "running"
        assert wire.start()["job_id"] == job + 1


def test_a_request_is_known_after_a_crash(daemon: Daemon) -> None:
    noting(daemon, "note", 'phases = ["start"]\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start(request_id="s")
        ended(wire, 1, runs=1)
        wire.end(job_id=1, request_id="e")
    daemon.kill()
    daemon.start()
    with Wire(daemon.socket) as wire:
        again = wire.start(request_id="s")
        assert (again["job_id"], again["duplicate"]) == (1, True)
        assert again["hooks"][0]["result"] == "success"
        assert wire.end(job_id=1, request_id="e")["duplicate"] is True
        name, _ = wire.error("StartJob", JOB | {"request_id": "s", "profile": "Q"})
        assert name == "io.hookd.Jobs.RequestIdConflict"
        assert wire.start(request_id="t")["job_id"] == 2
    assert noted(daemon).count("1 start note 1") == 1


def test_a_repeat_waits_for_the_gate_that_the_first_waits_for(common: Daemon) -> None:
    waiting(common, "gate", GATE, "echo not today\nexit 1")
    reload(common)
    with Wire(common.socket) as first, Wire(common.socket) as again:
        for wire in (first, again):
            wire.send("StartJob", JOB | {"request_id": "waits for a gate"})
            running(common)
        let_go(common, "gate")
        answers = [wire.receive()["parameters"] for wire in (first, again)]
    assert [a["duplicate"] for a in answers] == [False, True]
    job = answers[0]["job_id"]
    for answer in answers:
        assert (answer["job_id"], answer["allowed"], answer["reason"]) == (job, False, "not today")
    assert noted(common) == [f"{job} start gate 1"]


def test_a_repeat_after_a_crash_waits_for_the_gate(daemon: Daemon) -> None:
    waiting(daemon, "gate", GATE + '[run]\non_crash = "rerun"\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.send("StartJob", JOB | {"request_id": "r"})
        running(daemon)
        daemon.kill()
        assert wire.receive() == {}
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.send("StartJob", JOB | {"request_id": "r"})
        running(daemon, 2)
        let_go(daemon, "gate")
        answer = wire.receive()["parameters"]
    assert (answer["job_id"], answer["duplicate"], answer["allowed"]) == (1, True, True)
    assert noted(daemon) == ["1 start gate 1", "1 start gate 2"]


def test_a_repeat_may_wait_where_the_first_did_not(common: Daemon) -> None:
    waiting(common, "slow", 'phases = ["start"]\n', "exit 4")
    reload(common)
    request = {"request_id": "may wait"}
    with Wire(common.socket) as wire:
        assert wire.start(**request)["hooks"][0]["state"] == "waiting"
        wire.send("StartJob", JOB | request | {"wait": True})
        running(common)
        let_go(common, "slow")
        answer = wire.receive()["parameters"]
        assert answer["duplicate"] is True
        assert answer["hooks"][0]["exit_status"] == 4
        again = wire.start(**request, wait=True)
        assert again["hooks"][0]["exit_status"] == 4


def test_two_starts_are_two_jobs_and_an_end_is_for_the_newest(common: Daemon) -> None:
    with Wire(common.socket) as wire:
        first, second = (wire.start(server_job_id="twice")["job_id"] for _ in range(2))
        assert second == first + 1
        ends = [wire.end(server_job_id="twice")["job_id"] for _ in range(2)]
    assert ends == [second, first]


def test_a_second_end_and_an_end_without_a_start(common: Daemon) -> None:
    noting(common, "note", 'phases = ["end"]\n')
    reload(common)
    with Wire(common.socket) as wire:
        job = wire.start()["job_id"]
        wire.end(job_id=job, outcome="warning")
        name, values = wire.error("EndJob", END | {"job_id": job, "outcome": "success"})
        assert name == "io.hookd.Jobs.JobAlreadyEnded"
        assert values == {"job_id": job, "outcome": "warning", "reason": None}
        for unknown in ({"job_id": job + 1}, {"server_job_id": "never started"}):
            name, values = wire.error("EndJob", END | unknown)
            assert name == "io.hookd.Jobs.NoSuchJob"
            assert {k: v for k, v in values.items() if v is not None} == unknown
        ended(wire, job, runs=1)
        assert wire.job(job)["outcome"] == "warning"
    assert noted(common) == [f"{job} end note 1"]


@pytest.mark.parametrize("verdict", ["exit 0", "exit 1"])
def test_an_end_before_the_start_was_answered(common: Daemon, verdict: str) -> None:
    """It is an event like any other: its hooks run, after the start's, whatever the gate says."""
    waiting(common, "gate", GATE, verdict)
    noting(common, "note")
    reload(common)
    with Wire(common.socket) as wire, Wire(common.socket) as other:
        wire.send("StartJob", JOB | {"server_job_id": "early"})
        running(common)
        job = other.end(server_job_id="early")["job_id"]
        let_go(common, "gate")
        allowed = verdict == "exit 0"
        answer = wire.receive()["parameters"]
        assert (answer["job_id"], answer["allowed"]) == (job, allowed)
        runs = ended(other, job, runs=3)
        assert other.job(job)["allowed"] is allowed
    results = {(run["hook"], run["phase"]): run["result"] for run in runs}
    assert results["note", "end"] == "success"
    assert results["note", "start"] == ("success" if allowed else "cancelled")
    assert noted(common)[-1] == f"{job} end note 1"
