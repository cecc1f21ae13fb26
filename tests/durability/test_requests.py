# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests that are sent again, twice, or out of turn."""

from __future__ import annotations

import pytest

from tests.durability.hooks import ended, let_go, noted, noting, running, waiting
from tests.support.daemon import Daemon
from tests.support.wire import END, JOB, Wire

GATE = 'kind = "gate"\nphases = ["start"]\n'


def test_the_same_request_is_answered_as_the_first_was(daemon: Daemon) -> None:
    noting(daemon, "note")
    daemon.start()
    with Wire(daemon.socket) as wire:
        first = wire.start(request_id="s")
        again = wire.start(request_id="s")
        assert (first["duplicate"], again["duplicate"]) == (False, True)
        assert (first["job_id"], again["job_id"]) == (1, 1)
        assert [hook["run_id"] for hook in again["hooks"]] == [1]
        for duplicate in (False, True):
            assert wire.end(job_id=1, request_id="e")["duplicate"] is duplicate
        ended(wire, 1, runs=2)
    assert noted(daemon) == ["1 start note 1", "1 end note 1"]


@pytest.mark.parametrize("change", [{"profile": "Q"}, {"user": "v"}, {"attributes": {"a": "b"}}])
def test_other_content_under_the_same_id_is_a_conflict(
    daemon: Daemon, change: dict[str, object]
) -> None:
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start(request_id="r")
        name, values = wire.error("StartJob", JOB | {"request_id": "r"} | change)
        assert (name, values["job_id"]) == ("io.hookd.Jobs.RequestIdConflict", 1)
        name, _ = wire.error("EndJob", END | {"job_id": 1, "request_id": "r"})
        assert name == "io.hookd.Jobs.RequestIdConflict"
        assert wire.job(1)["state"] == "running"
        assert wire.start()["job_id"] == 2


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


def test_a_repeat_waits_for_the_gate_that_the_first_waits_for(daemon: Daemon) -> None:
    waiting(daemon, "gate", GATE, "echo not today\nexit 1")
    daemon.start()
    with Wire(daemon.socket) as first, Wire(daemon.socket) as again:
        for wire in (first, again):
            wire.send("StartJob", JOB | {"request_id": "r"})
            running(daemon)
        let_go(daemon, "gate")
        answers = [wire.receive()["parameters"] for wire in (first, again)]
    assert [a["duplicate"] for a in answers] == [False, True]
    for answer in answers:
        assert (answer["job_id"], answer["allowed"], answer["reason"]) == (1, False, "not today")
    assert noted(daemon) == ["1 start gate 1"]


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


def test_a_repeat_may_wait_where_the_first_did_not(daemon: Daemon) -> None:
    waiting(daemon, "slow", 'phases = ["start"]\n', "exit 4")
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert wire.start(request_id="r")["hooks"][0]["state"] == "waiting"
        wire.send("StartJob", JOB | {"request_id": "r", "wait": True})
        running(daemon)
        let_go(daemon, "slow")
        answer = wire.receive()["parameters"]
        assert answer["duplicate"] is True
        assert answer["hooks"][0]["exit_status"] == 4
        again = wire.start(request_id="r", wait=True)
        assert again["hooks"][0]["exit_status"] == 4


def test_two_starts_are_two_jobs_and_an_end_is_for_the_newest(daemon: Daemon) -> None:
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert [wire.start(server_job_id="7")["job_id"] for _ in range(2)] == [1, 2]
        assert [wire.end(server_job_id="7")["job_id"] for _ in range(2)] == [2, 1]


def test_a_second_end_and_an_end_without_a_start(daemon: Daemon) -> None:
    noting(daemon, "note", 'phases = ["end"]\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        wire.end(job_id=1, outcome="warning")
        name, values = wire.error("EndJob", END | {"job_id": 1, "outcome": "success"})
        assert name == "io.hookd.Jobs.JobAlreadyEnded"
        assert values == {"job_id": 1, "outcome": "warning"}
        for unknown in ({"job_id": 2}, {"server_job_id": "x"}):
            name, values = wire.error("EndJob", END | unknown)
            assert name == "io.hookd.Jobs.NoSuchJob"
            assert {k: v for k, v in values.items() if v is not None} == unknown
        ended(wire, 1, runs=1)
        assert wire.job(1)["outcome"] == "warning"
    assert noted(daemon) == ["1 end note 1"]


@pytest.mark.parametrize("verdict", ["exit 0", "exit 1"])
def test_an_end_before_the_start_was_answered(daemon: Daemon, verdict: str) -> None:
    """It is an event like any other: its hooks run, after the start's, whatever the gate says."""
    waiting(daemon, "gate", GATE, verdict)
    noting(daemon, "note")
    daemon.start()
    with Wire(daemon.socket) as wire, Wire(daemon.socket) as other:
        wire.send("StartJob", JOB | {"server_job_id": "7"})
        running(daemon)
        assert other.end(server_job_id="7")["job_id"] == 1
        let_go(daemon, "gate")
        allowed = verdict == "exit 0"
        assert wire.receive()["parameters"]["allowed"] is allowed
        runs = ended(other, 1, runs=3)
        assert other.job(1)["allowed"] is allowed
    results = {(run["hook"], run["phase"]): run["result"] for run in runs}
    assert results["note", "end"] == "success"
    assert results["note", "start"] == ("success" if allowed else "cancelled")
    assert noted(daemon)[-1] == "1 end note 1"
