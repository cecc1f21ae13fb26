# SPDX-License-Identifier: LGPL-2.1-or-later
"""A gate decides in time, whatever it waits for: then on_error does, and that stands."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from hookd.system.records import GATE_OVERDUE
from tests.durability.hooks import ended, let_go, noted, noting, running, waiting
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import JOB, Wire

TIME = 1.5  # seconds that the gates here have
LIMITS = '[limits]\ntimeout = "1s"\nkill_grace = "500ms"\n'
SLACK = 2.5  # seconds, for a busy machine; far below any other time here


def gate(on_error: str, more: str = "") -> str:
    return f'kind = "gate"\nphases = ["start"]\non_error = "{on_error}"\n{more}{LIMITS}'


def decided(wire: Wire, on_error: str, why: str, within: float = TIME) -> dict[str, Any]:
    """Start a job whose gate cannot decide; see that `on_error` does, in time and with reason."""
    began = time.monotonic()
    answer = wire.start()
    assert within - 0.1 < time.monotonic() - began < within + SLACK
    assert answer["allowed"] is (on_error == "allow")
    text = f"gate gate could not decide within {within:g} s: {why}"
    assert answer["reason"] == (text if on_error == "deny" else None)
    return answer


both = pytest.mark.parametrize("on_error", ["deny", "allow"])


@both
def test_the_runner_is_away(daemon: Daemon, runner: RunnerUnit, on_error: str) -> None:
    """And when it is back, the gate is not run, and what its job still has goes on."""
    noting(daemon, "gate", gate(on_error))
    noting(daemon, "note", 'phases = ["start"]\n')
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        decided(wire, on_error, "the runner is not connected")
        assert wire.job(1)["allowed"] is (on_error == "allow")
        assert wire.job(1)["state"] == ("running" if on_error == "allow" else "refused")
        runner.start()
        found = {run["hook"]: run for run in ended(wire, 1, runs=2)}
    assert found["gate"]["result"] == "cancelled"
    assert found["gate"]["reason"] == "its job was decided without it: its time was over"
    assert found["note"]["result"] == ("success" if on_error == "allow" else "cancelled")
    assert noted(daemon) == (["1 start note 1"] if on_error == "allow" else [])


@both
def test_all_attempts_and_their_waits_and_no_more(
    daemon: Daemon, runner: RunnerUnit, on_error: str
) -> None:
    retry = '[retry]\nattempts = 2\nbackoff = "500ms"\n'
    noting(daemon, "gate", gate(on_error, retry))
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        decided(wire, on_error, "the runner is not connected", within=2 * TIME + 0.5)


@both
def test_a_runner_that_is_stuck(
    daemon: Daemon, runner: RunnerUnit, records: Records, on_error: str
) -> None:
    """Stopped while the gate runs: that its run succeeds or fails later changes nothing."""
    waiting(daemon, "gate", gate(on_error))
    runner.start()
    daemon.start(*runner.arguments)
    assert runner.process is not None
    with Wire(daemon.socket) as wire, Wire(daemon.socket) as other:
        eventually(lambda: other.status()["runner_connected"])
        wire.send("StartJob", JOB)
        running(daemon)
        eventually(lambda: other.job(1)["hooks"][0]["state"] == "running")
        os.kill(runner.process.pid, signal.SIGSTOP)
        let_go(daemon, "gate")
        answer = wire.receive()["parameters"]
        assert answer["allowed"] is (on_error == "allow")
        os.kill(runner.process.pid, signal.SIGCONT)
        (run,) = ended(wire, 1, runs=1)
        assert run["started_usec"] is not None
        assert wire.job(1)["allowed"] is (on_error == "allow")
        assert wire.job(1)["reason"] == answer["reason"]
    (said,) = records.find(MESSAGE_ID=GATE_OVERDUE.message_id)
    does = "goes on" if on_error == "allow" else "is refused"
    assert said["MESSAGE"].endswith(f"it runs and has not ended; the job {does}")


@both
def test_all_slots_are_stuck(daemon: Daemon, on_error: str) -> None:
    match = '[match]\nprofile = ["stuck"]\n'
    (daemon.directory / "hookd.toml").write_text("[daemon]\nmax_running = 1\n")
    waiting(daemon, "stuck", 'phases = ["start"]\n' + match)
    noting(daemon, "gate", gate(on_error, '[match]\nprofile = ["P"]\n'))
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start(profile="stuck")
        running(daemon)
        decided(wire, on_error, "all 1 slots are taken")
        (run,) = ended(wire, 2, runs=1)
        assert (run["result"], run["started_usec"]) == ("cancelled", None)
        let_go(daemon, "stuck")
        ended(wire, 1, runs=1)


def test_the_one_before_it_is_stuck(daemon: Daemon) -> None:
    waiting(daemon, "gate", gate("deny", '[run]\noverlap = "serial"\n').replace('"1s"', '"3s"'))
    daemon.start()
    with Wire(daemon.socket) as wire, Wire(daemon.socket) as other:
        other.send("StartJob", JOB | {"profile": "a"})
        running(daemon)
        answer = wire.start()
        assert answer["allowed"] is False
        assert ended(wire, 1, runs=1)[0]["result"] == "timeout"
        assert ended(wire, 2, runs=1)[0]["result"] == "cancelled"


@both
def test_a_restart_counts_the_time_that_the_server_was_away(
    daemon: Daemon, runner: RunnerUnit, on_error: str
) -> None:
    noting(daemon, "gate", gate(on_error).replace('"1s"', '"3s"'))
    daemon.start(*runner.arguments)
    asked = JOB | {"request_id": "r"}
    with Wire(daemon.socket) as wire, Wire(daemon.socket) as other:
        wire.send("StartJob", asked)
        eventually(lambda: other.status()["waiting"] == 1)
        on_disk = time.monotonic()
        daemon.kill()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        answer = wire.call("StartJob", asked)
        assert time.monotonic() - on_disk < 3.5 + SLACK
    assert (answer["duplicate"], answer["allowed"]) == (True, on_error == "allow")
    daemon.kill()
    (daemon.directory / "hooks.d" / "gate.toml").write_text(
        (daemon.directory / "hooks.d" / "gate.toml").read_text().replace(on_error, "deny")
    )
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:  # what was decided stands, whatever the file says now
        assert wire.call("StartJob", asked)["allowed"] is (on_error == "allow")


def test_what_a_gate_decided_while_the_server_was_away_counts(
    daemon: Daemon, runner: RunnerUnit
) -> None:
    waiting(daemon, "gate", gate("deny"))
    runner.start()
    daemon.start(*runner.arguments)
    asked = JOB | {"request_id": "r"}
    with Wire(daemon.socket) as wire:
        eventually(lambda: wire.status()["runner_connected"])
        wire.send("StartJob", asked)
        running(daemon)
        on_disk = time.monotonic()
        daemon.kill()
    let_go(daemon, "gate")
    eventually(lambda: time.monotonic() > on_disk + TIME)  # its time is over, seen by nobody
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        answer = wire.call("StartJob", asked)
        assert (answer["duplicate"], answer["allowed"]) == (True, True)


def test_a_wait_for_hooks_ends_with_the_refusal(daemon: Daemon, runner: RunnerUnit) -> None:
    noting(daemon, "gate", gate("deny"))
    noting(daemon, "note", 'phases = ["start"]\n')
    runner.start()
    daemon.start(*runner.arguments)
    assert runner.process is not None
    with Wire(daemon.socket) as wire:
        eventually(lambda: wire.status()["runner_connected"])
        os.kill(runner.process.pid, signal.SIGSTOP)
        try:
            answer = wire.start(wait=True)
        finally:
            os.kill(runner.process.pid, signal.SIGCONT)
        assert answer["allowed"] is False
        assert "the runner was asked to start it" in answer["reason"]
        ended(wire, 1, runs=2)
