# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl metrics: the server's figures as text, character by character, and as values.

A peer tells what the server's own counters tell for events that are always the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hookd import __version__
from hookd.model import Event, HookRun, Outcome, Phase, Result, RunState
from hookd.server.api.metrics import Gauges, Metrics
from tests.cli.hookctl import hookctl
from tests.client.peer import Peer

OPENMETRICS = """\
# HELP hookd_build The program.
# TYPE hookd_build info
hookd_build_info{version="VERSION"} 1.0
# HELP hookd_healthy 1 while nothing is wrong.
# TYPE hookd_healthy gauge
hookd_healthy 1.0
# HELP hookd_runs_running Runs of hooks that run.
# TYPE hookd_runs_running gauge
hookd_runs_running 1.0
# HELP hookd_runs_waiting Runs of hooks that wait.
# TYPE hookd_runs_waiting gauge
hookd_runs_waiting 2.0
# HELP hookd_jobs_open Jobs without an end.
# TYPE hookd_jobs_open gauge
hookd_jobs_open -1.0
# HELP hookd_connections Open connections.
# TYPE hookd_connections gauge
hookd_connections 3.0
# HELP hookd_hooks_parked Hooks in quarantine.
# TYPE hookd_hooks_parked gauge
hookd_hooks_parked 0.0
# HELP hookd_jobs_started Jobs started.
# TYPE hookd_jobs_started counter
hookd_jobs_started_total 1.0
# HELP hookd_jobs_ended Jobs ended.
# TYPE hookd_jobs_ended counter
hookd_jobs_ended_total{outcome="error"} 1.0
hookd_jobs_ended_total{outcome="success"} 1.0
# HELP hookd_faults Errors of hookd's own since its start.
# TYPE hookd_faults counter
hookd_faults_total{process="runner"} 0.0
hookd_faults_total{process="server"} 1.0
# HELP hookd_runs Runs of hooks ended.
# TYPE hookd_runs counter
hookd_runs_total{hook="a",phase="start",result="failed"} 1.0
hookd_runs_total{hook="a",phase="start",result="success"} 1.0
hookd_runs_total{hook="b.c",phase="end",result="spawn-failed"} 1.0
# HELP hookd_run_duration_seconds How long hooks ran.
# TYPE hookd_run_duration_seconds histogram
# UNIT hookd_run_duration_seconds seconds
hookd_run_duration_seconds_bucket{hook="a",le="0.01"} 1.0
hookd_run_duration_seconds_bucket{hook="a",le="0.05"} 1.0
hookd_run_duration_seconds_bucket{hook="a",le="0.25"} 1.0
hookd_run_duration_seconds_bucket{hook="a",le="1.0"} 1.0
hookd_run_duration_seconds_bucket{hook="a",le="5.0"} 1.0
hookd_run_duration_seconds_bucket{hook="a",le="30.0"} 1.0
hookd_run_duration_seconds_bucket{hook="a",le="120.0"} 1.0
hookd_run_duration_seconds_bucket{hook="a",le="600.0"} 1.0
hookd_run_duration_seconds_bucket{hook="a",le="3600.0"} 1.0
hookd_run_duration_seconds_bucket{hook="a",le="+Inf"} 2.0
hookd_run_duration_seconds_count{hook="a"} 2.0
hookd_run_duration_seconds_sum{hook="a"} 4000.0015
# HELP hookd_run_cpu_seconds CPU time of hooks.
# TYPE hookd_run_cpu_seconds counter
# UNIT hookd_run_cpu_seconds seconds
hookd_run_cpu_seconds_total{hook="a"} 0.2512
# HELP hookd_run_output_bytes Output of hooks.
# TYPE hookd_run_output_bytes counter
# UNIT hookd_run_output_bytes bytes
hookd_run_output_bytes_total{hook="a"} 7.0
# EOF
"""


def event(phase: Phase, outcome: Outcome | None = None) -> Event:
    """Return an event of job 1."""
    return Event(
        phase=phase,
        job_id=1,
        profile="Mail",
        user="ann",
        client_ip="10.0.0.7",
        client_build_no="563",
        outcome=outcome,
    )


def run(hook: str, phase: Phase, result: Result) -> HookRun:
    """Return a run that has ended, never started."""
    return HookRun(
        run_id=1, hook=hook, phase=phase, attempt=1, state=RunState.ENDED, result=result
    )


def started(result: Result, duration_usec: int, cpu_usec: int, output_bytes: int) -> HookRun:
    """Return a run that has ended after it was started."""
    return msgspec.structs.replace(
        run("a", Phase.START, result),
        started_usec=1,
        duration_usec=duration_usec,
        cpu_usec=cpu_usec,
        output_bytes=output_bytes,
    )


@pytest.fixture
def peer(scratch: Path) -> Iterator[Peer]:
    """Return one that tells figures, once."""
    counted = Metrics()
    for one in (
        event(Phase.START),
        event(Phase.END, Outcome.SUCCESS),
        event(Phase.END, Outcome.ERROR),
    ):
        counted.job(one)
    counted.run(started(Result.SUCCESS, 1_500, 1_200, 7))
    counted.run(started(Result.FAILED, 4_000_000_000, 250_000, 0))
    counted.run(run("b.c", Phase.END, Result.SPAWN_FAILED))
    gauges = Gauges(
        running=1,
        waiting=2,
        open_jobs=-1,
        connections=3,
        healthy=True,
        parked=0,
        faults={"runner": 0, "server": 1},
    )
    reply = {"parameters": {"families": counted.families(gauges)}}
    peer = Peer(scratch / "peer.sock", [msgspec.json.encode(reply) + b"\0"])
    yield peer
    peer.close()


def test_the_text_is_openmetrics_to_the_letter(peer: Peer) -> None:
    done = hookctl("--socket", peer.path, "metrics")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == OPENMETRICS.replace("VERSION", __version__)


def test_the_older_format_has_the_same_samples(peer: Peer) -> None:
    done = hookctl("--socket", peer.path, "metrics", "--textfile")
    assert (done.returncode, done.stderr) == (0, "")
    samples = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    expected = OPENMETRICS.replace("VERSION", __version__).splitlines()
    assert samples == [line for line in expected if not line.startswith("#")]


def test_json_is_the_reply_itself(peer: Peer) -> None:
    done = hookctl("--socket", peer.path, "--json", "metrics")
    assert (done.returncode, done.stderr) == (0, "")
    families = {one["name"]: one for one in json.loads(done.stdout)["families"]}
    assert families["hookd_run_cpu_seconds"] == {
        "name": "hookd_run_cpu_seconds",
        "type": "counter",
        "unit": "seconds",
        "help": "CPU time of hooks.",
        "samples": [{"labels": {"hook": "a"}, "value": 0.2512, "buckets": []}],
    }
    (duration,) = families["hookd_run_duration_seconds"]["samples"]
    assert duration["buckets"][-1] == {"upper_bound": None, "count": 2}


def test_json_and_a_text_format_are_not_asked_for_together(scratch: Path) -> None:
    done = hookctl("--socket", scratch / "none", "--json", "metrics", "--textfile")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--json and --textfile exclude each other" in done.stderr
