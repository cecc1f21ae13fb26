# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stop and the next start: hooks end in order, what waits goes on, nobody is refused."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading

from hookd.system.records import SERVER_STOPPED
from tests.durability.hooks import ended, let_go, noted, noting, running, waiting
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import JOB, Wire

START = 'phases = ["start"]\n'


AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "hookd"}
os.execv(sys.argv[2], sys.argv[2:])
"""


def begin_stop(daemon: Daemon) -> subprocess.Popen[bytes]:
    """Ask hookd to stop; return when it has begun to."""
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    eventually(lambda: not daemon.socket.exists())
    return daemon.process


def test_a_hook_may_end_while_hookd_stops_and_its_result_is_kept(
    daemon: Daemon, records: Records
) -> None:
    waiting(daemon, "slow", START, "exit 3")
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
    process = begin_stop(daemon)
    assert process.poll() is None
    let_go(daemon, "slow")
    assert process.wait(20) == 0
    assert len(records.find(MESSAGE_ID=SERVER_STOPPED.message_id)) == 1
    daemon.start()
    with Wire(daemon.socket) as wire:
        (run,) = wire.job(1)["hooks"]
    assert (run["state"], run["result"], run["exit_status"]) == ("ended", "failed", 3)


def test_the_drain_is_bounded(daemon: Daemon) -> None:
    (daemon.directory / "hookd.toml").write_text('[daemon]\ndrain = "200ms"\n')
    go = daemon.directory / "go"
    for name, trap in (("yields", ""), ("resists", "trap '' TERM")):
        for on_crash in ("report", "rerun"):
            options = f'[run]\non_crash = "{on_crash}"\n[limits]\nkill_grace = "300ms"\n'
            stuck = f"{trap}\nuntil [ -e {go} ]; do sleep 0.02; done"
            noting(daemon, f"{name}-{on_crash}", START + options, stuck)
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon, 4)
    assert daemon.stop() == 0
    go.touch()
    daemon.start()
    with Wire(daemon.socket) as wire:
        runs = ended(wire, 1, runs=6)
    cut, again = ("interrupted", 0), ("success", 0)
    results: dict[str, list[tuple[str, int]]] = {}
    for run in runs:
        results.setdefault(run["hook"], []).append((run["result"], run["survivors"]))
    assert results == {
        "yields-report": [cut],
        "yields-rerun": [cut, again],
        "resists-report": [cut],
        "resists-rerun": [cut, again],
    }


def test_what_waits_is_found_by_the_next_start(daemon: Daemon) -> None:
    waiting(daemon, "slow", START + "[run]\nmax_running = 1\n")
    daemon.start()
    with Wire(daemon.socket) as wire:
        for _ in range(5):
            wire.start()
        running(daemon)
    let_go(daemon, "slow")
    daemon.stop()
    daemon.start()
    with Wire(daemon.socket) as wire:
        runs = [ended(wire, job, runs=1)[0] for job in range(1, 6)]
    assert {(run["result"], run["attempt"]) for run in runs} == {("success", 1)}
    assert sorted(noted(daemon)) == [f"{job} start slow 1" for job in range(1, 6)]


def test_who_waits_for_hooks_is_told_to_ask_the_next_instance(daemon: Daemon) -> None:
    waiting(daemon, "slow", START)
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.send("StartJob", JOB | {"wait": True, "request_id": "r"})
        running(daemon)
        process = begin_stop(daemon)
        assert wire.receive()["error"] == "io.hookd.Jobs.ShuttingDown"
    let_go(daemon, "slow")
    assert process.wait(20) == 0
    daemon.start()
    with Wire(daemon.socket) as wire:
        again = wire.start(request_id="r", wait=True)
        assert (again["duplicate"], again["hooks"][0]["result"]) == (True, "success")


def test_a_stopped_server_leaves_the_hooks_of_a_runner_alone(
    daemon: Daemon, runner: RunnerUnit
) -> None:
    waiting(daemon, "slow", START, "exit 3")
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
    assert daemon.stop() == 0
    let_go(daemon, "slow")
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        (run,) = ended(wire, 1, runs=1)
    assert (run["result"], run["exit_status"], run["attempt"]) == ("failed", 3, 1)


def test_what_comes_while_the_runner_stops_waits_for_the_next_one(
    daemon: Daemon, runner: RunnerUnit
) -> None:
    waiting(daemon, "slow", START)
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
        assert runner.process is not None
        runner.process.send_signal(signal.SIGTERM)
        for _ in range(20):
            wire.start()
        let_go(daemon, "slow")
        assert runner.process.wait(20) == 0
        runner.start()
        runs = [ended(wire, job, runs=1)[0] for job in range(1, 22)]
    assert {(run["result"], run["attempt"]) for run in runs} == {("success", 1)}


def test_a_connection_that_was_taken_and_not_heard_yet_is_answered(daemon: Daemon) -> None:
    """It was on the socket's queue, where it would have waited for the next start."""
    noting(daemon, "note", START)
    daemon.start()
    with Wire(daemon.socket) as silent, Wire(daemon.socket) as wire:
        eventually(lambda: wire.status()["connections"] == 2)
        process = begin_stop(daemon)
        assert wire.receive() == {}  # this one has been answered: it may ask the next instance
        assert silent.start()["job_id"] == 1
        assert silent.receive() == {}
    assert process.wait(20) == 0
    assert noted(daemon) == []
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert ended(wire, 1, runs=1)[0]["result"] == "success"


class Clients:
    """Backup servers that make a connection for each call, and ask only once."""

    def __init__(self, daemon: Daemon, count: int) -> None:
        self.answered: list[int] = []
        self.refused: list[str] = []
        self._daemon = daemon
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def until_more_are_answered(self) -> None:
        before = len(self.answered)
        eventually(lambda: len(self.answered) > before + 20)

    def finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _work(self) -> None:
        while not self._stop.wait(0.01):
            try:
                with Wire(self._daemon.socket) as wire:
                    wire.send("StartJob", JOB)
                    reply = wire.receive()
                    self.answered.append(reply["parameters"]["job_id"])
            except (OSError, KeyError) as e:
                self.refused.append(repr(e))


def test_none_is_refused_over_restarts_where_systemd_holds_the_socket(
    daemon: Daemon, runner: RunnerUnit
) -> None:
    noting(daemon, "note", START)
    runner.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
        held.bind(str(daemon.socket))
        held.listen(4096)
        daemon.prefix = [sys.executable, "-c", AS_SYSTEMD, str(held.fileno())]
        daemon.inherited = [held.fileno()]
        daemon.start(*runner.arguments)
        clients = Clients(daemon, 8)
        for _ in range(4):
            clients.until_more_are_answered()
            assert daemon.stop() == 0
            daemon.start(*runner.arguments)
        clients.finish()
    assert clients.refused == []
    assert sorted(clients.answered) == list(range(1, len(clients.answered) + 1))
    eventually(lambda: len(noted(daemon)) == len(clients.answered), within=30)
    assert len(set(noted(daemon))) == len(clients.answered)
