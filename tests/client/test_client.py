# SPDX-License-Identifier: LGPL-2.1-or-later
"""The client and a real daemon."""

from __future__ import annotations

from typing import Any

import pytest

from hookd import errors
from hookd.client import Client
from hookd.model import JobState, Outcome, Phase, Result, RunState
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

JOB: dict[str, Any] = {"profile": "Mail", "user": "ann@example.com", "client_ip": "10.0.0.7"}


@pytest.fixture(scope="module")
def ready(shared: Daemon) -> Daemon:
    """Return a started daemon with one hook."""
    shared.hook("true", 'command = "/bin/true"\n')
    shared.start()
    return shared


def test_a_job_and_its_runs_come_typed(ready: Daemon) -> None:
    with ready.client() as hookd:
        started = hookd.start_job(**JOB, attributes={"tape": "7"}, wait=True)
        (run,) = started.hooks
        assert (run.hook, run.phase, run.state) == ("true", Phase.START, RunState.ENDED)
        assert run.result is Result.SUCCESS
        ended = hookd.end_job(started.job_id, file_count=1, byte_count=2, outcome="success")
        assert (ended.job_id, ended.duplicate) == (started.job_id, False)
        job = hookd.get_job(started.job_id)
    assert (job.state, job.outcome) == (JobState.ENDED, Outcome.SUCCESS)
    assert job.attributes == {"tape": "7"}


def test_the_same_request_twice_is_one_job(ready: Daemon) -> None:
    with ready.client() as hookd:
        first = hookd.start_job(**JOB, request_id="r-1")
        second = hookd.start_job(**JOB, request_id="r-1")
        assert (first.job_id, first.duplicate) == (second.job_id, False)
        assert second.duplicate
        assert hookd.start_job(**JOB).job_id != hookd.start_job(**JOB).job_id


def test_a_client_outlives_a_restart_of_the_daemon(daemon: Daemon) -> None:
    daemon.start()
    with daemon.client() as hookd:
        first = hookd.start_job(**JOB)
        daemon.kill()
        daemon.start()
        second = hookd.start_job(**JOB)
        assert second.job_id > first.job_id
        assert hookd.end_job(first.job_id).job_id == first.job_id


def test_a_tied_job_is_lost_with_its_client(ready: Daemon) -> None:
    with ready.client() as hookd:
        tied = hookd.start_job(**JOB, tie=True)
    with ready.client() as hookd:
        eventually(lambda: hookd.get_job(tied.job_id).outcome is Outcome.LOST)


def test_server_started_loses_the_jobs_of_the_instance_before(daemon: Daemon) -> None:
    daemon.start()
    with daemon.client() as hookd:
        assert hookd.server_started("monday") == []
        job = hookd.start_job(**JOB)
        assert hookd.server_started("monday") == []
        assert hookd.server_started("tuesday") == [job.job_id]


def test_refusals_come_as_exceptions(ready: Daemon) -> None:
    with ready.client() as hookd:
        with pytest.raises(errors.InvalidParameter, match="client_ip: must be an IPv4"):
            hookd.start_job(**JOB | {"client_ip": "nowhere"})
        with pytest.raises(errors.NoSuchJob, match="no job 9999"):
            hookd.get_job(9999)
        with pytest.raises(errors.MethodNotFound):
            hookd.call("io.hookd.Jobs.Nothing", {}, dict[str, Any])
        with pytest.raises(errors.InterfaceNotFound):
            hookd.call("io.example.Nothing", {}, dict[str, Any])


def test_each_change_of_a_run_is_streamed(ready: Daemon) -> None:
    with ready.client() as hookd:
        asked = JOB | {"client_build_no": "563", "wait": True}
        answers = list(hookd.stream("io.hookd.Jobs.StartJob", asked, dict[str, Any]))
    states = [answer["hooks"][0]["state"] for answer in answers if answer["hooks"]]
    assert states[-1] == "ended"
    assert "running" in states


def test_the_default_socket_is_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/4711")
    assert Client().path in ("/run/hookd/hookd.sock", "/run/user/4711/hookd/hookd.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert Client().path == "/run/hookd/hookd.sock"
