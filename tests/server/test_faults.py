# SPDX-License-Identifier: LGPL-2.1-or-later
"""An error of hookd's own ends the one operation that it befell; all others go on.

A method raises whenever it is about the guilty (`tests/support/faulty.py`), again and again.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from hookd.system.records import FAULT
from tests.cli.hookctl import hookctl
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.wire import JOB, Wire

FAULTY = str(Path(__file__).parents[1] / "support" / "faulty.py")
PROFILES = ("one", "guilty", "two", "three")
WORDS = "an error of hookd's own: RuntimeError('nobody expects that')"

BEFORE_THE_ANSWER = [
    "hookd.server.dispatch.intake:Intake._say",
    "hookd.server.dispatch.intake:Intake.recorded",
    "hookd.server.dispatch.dispatcher:Dispatcher.add",
    "hookd.server.api.metrics:Metrics.job",
]
AFTER_IT = [
    "hookd.server.dispatch.results:Results.decide",
    "hookd.server.dispatch.dispatcher:Dispatcher._ended",
    "hookd.server.runs.quarantine:Quarantine.count",
    "hookd.server.api.metrics:Metrics.run",
]


def begin(daemon: Daemon, where: str) -> Path:
    """Start a daemon with this method broken; return where each hook notes its runs."""
    side = daemon.directory / "side"
    side.touch()
    for name in ("hook", "guilty"):
        only = '["guilty"]' if name == "guilty" else '["one", "two", "three"]'
        script = daemon.script(name, f'echo "$HOOKD_JOB_ID $HOOKD_PHASE" >>{side}\n')
        daemon.hook(name, f'command = "{script}"\n[match]\nprofile = {only}\n')
    daemon.prefix = [sys.executable, FAULTY, where, "server"]
    daemon.start()
    return side


def four_at_once(daemon: Daemon) -> dict[str, dict[str, object]]:
    """Return the answers to four StartJobs that hookd finds at the same moment."""
    assert daemon.process is not None
    wires = {profile: Wire(daemon.socket) for profile in PROFILES}
    for wire in wires.values():
        wire.status()
    daemon.process.send_signal(signal.SIGSTOP)
    for profile, wire in wires.items():
        wire.send("StartJob", JOB | {"profile": profile, "request_id": profile})
    daemon.process.send_signal(signal.SIGCONT)
    answers = {profile: wire.receive() for profile, wire in wires.items()}
    for wire in wires.values():
        wire.socket.close()
    return answers


@pytest.mark.parametrize("where", BEFORE_THE_ANSWER)
def test_the_guilty_alone_is_told_and_its_hooks_run_once(daemon: Daemon, where: str) -> None:
    side = begin(daemon, where)
    answers = four_at_once(daemon)
    error = answers.pop("guilty")
    assert error == {"error": "io.hookd.Jobs.InternalError", "parameters": {"message": WORDS}}
    ids = {answer["parameters"]["job_id"] for answer in answers.values()}  # type: ignore[index]
    with Wire(daemon.socket) as wire:
        guilty = {1, 2, 3, 4} - ids
        assert len(guilty) == 1
        eventually(lambda: len(side.read_text().splitlines()) == 4)
        eventually(lambda: wire.status()["running"] + wire.status()["waiting"] == 0)
        wire.send("StartJob", JOB | {"profile": "guilty", "request_id": "guilty"})
        again = wire.receive()  # the same, or that it is a duplicate: nothing runs again
        assert again == error or again["parameters"]["duplicate"]
        job = wire.job(guilty.pop())
        status = wire.status()
    assert [run["result"] for run in job["hooks"]] == ["success"]
    assert sorted(side.read_text().splitlines()) == [f"{n} start" for n in (1, 2, 3, 4)]
    assert status["healthy"]
    assert status["faults"] >= 1


@pytest.mark.parametrize("where", AFTER_IT)
def test_a_result_that_cannot_be_judged_is_kept_and_stops_nobody(
    daemon: Daemon, records: Records, where: str
) -> None:
    side = begin(daemon, where)
    answers = four_at_once(daemon)
    assert not [answer for answer in answers.values() if "error" in answer]
    with Wire(daemon.socket) as wire:
        eventually(lambda: wire.status()["running"] + wire.status()["waiting"] == 0)
        assert wire.start(profile="one", wait=True)["hooks"][0]["result"] == "success"
        jobs = [wire.job(n) for n in (1, 2, 3, 4)]
        status = wire.status()
    assert [run["result"] for job in jobs for run in job["hooks"]] == ["success"] * 4
    assert sorted(side.read_text().splitlines()) == [f"{n} start" for n in range(1, 6)]
    assert (status["healthy"], status["runner_connected"]) == (True, True)
    [record] = records.find(MESSAGE_ID=FAULT.message_id)[:1]
    assert record["HOOKD_FAULT"] == "RuntimeError('nobody expects that')"
    assert "faulty.py" in record["HOOKD_TRACEBACK"]
    shown = hookctl("--socket", daemon.socket, "status").stdout
    assert f"faults   {status['faults']} of hookd: errors of hookd's own" in shown


def test_a_transaction_that_cannot_be_done_is_one_answer(daemon: Daemon) -> None:
    side = begin(daemon, "hookd.server.storage.database:Database.start_job")
    answers = four_at_once(daemon)
    assert answers.pop("guilty")["error"] == "io.hookd.Jobs.InternalError"
    assert not [answer for answer in answers.values() if "error" in answer]
    with Wire(daemon.socket) as wire:
        eventually(lambda: len(side.read_text().splitlines()) == 3)
        assert wire.status()["healthy"]
        metrics = wire.call("io.hookd.Manager.GetMetrics")
    assert "hookd_faults" in str(metrics)


@pytest.mark.parametrize(
    "where",
    [
        "hookd.server.dispatch.results:Results.overdue",
        "hookd.server.dispatch.gates:Gates._obstacle",
    ],
)
def test_a_gate_whose_decision_fails_decides_as_on_error_says(daemon: Daemon, where: str) -> None:
    """No runner is connected, so the gate is decided when its time is over."""
    options = 'phases = ["start"]\nkind = "gate"\n[limits]\ntimeout = "1s"\nkill_grace = "0s"\n'
    daemon.hook("guilty", f'command = "/bin/true"\n{options}')
    daemon.prefix = [sys.executable, FAULTY, where, "server"]
    daemon.start("--runner-socket", str(daemon.directory / "none.sock"))
    with Wire(daemon.socket, 10.0) as wire:
        wire.send("StartJob", JOB | {"profile": "guilty"})
        answer = wire.receive()["parameters"]
    assert not answer["allowed"]
    assert WORDS in answer["reason"]
