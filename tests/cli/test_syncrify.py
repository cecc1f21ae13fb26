# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl syncrify, called as a Syncrify server calls its jobHookScript."""

from __future__ import annotations

import subprocess

import pytest

from tests.cli.hookctl import hookctl
from tests.cli.jobs import job, last_job
from tests.support.daemon import Daemon


@pytest.fixture(scope="module")
def running(shared: Daemon) -> Daemon:
    """Return a started daemon without hooks; each test has a profile of its own."""
    shared.start()
    return shared


def event(daemon: Daemon, event: str, *values: object) -> subprocess.CompletedProcess[str]:
    """Say it as Syncrify does: nothing but the values of its variables."""
    return hookctl("--socket", daemon.socket, "syncrify", event, *map(str, values))


def test_start_and_end_by_syncrifys_job_id(running: Daemon) -> None:
    last = last_job(running)
    for number in ("41", "42"):
        done = event(running, "true", "10.0.0.7", "563", "Mail", "ann@example.com", 0, 0, number)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = event(running, "false", "10.0.0.7", "563", "Mail", "ann@example.com", 12, 345, "41")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first, second = job(running, last + 1), job(running, last + 2)
    assert (first.server_job_id, first.state.value) == ("41", "ended")
    assert (first.file_count, first.byte_count) == (12, 345)
    assert (second.server_job_id, second.state.value) == ("42", "running")


def test_without_a_job_id_the_newest_of_client_profile_and_user_ends(running: Daemon) -> None:
    last = last_job(running)
    who = ("10.0.0.7", "563", "Newest", "ann@example.com")
    event(running, "true", *who, 0, 0)
    event(running, "true", *who, 0, 0)
    event(running, "true", "10.0.0.8", *who[1:], 0, 0)
    event(running, "true", *who[:2], "Photos", who[3], 0, 0)
    event(running, "true", *who[:3], "bob@example.com", 0, 0)
    assert event(running, "false", *who, 12, 345).returncode == 0
    states = [job(running, last + n).state.value for n in range(1, 6)]
    assert states == ["running", "ended", "running", "running", "running"]
    assert event(running, "false", *who, 1, 1).returncode == 0
    assert event(running, "false", *who, 1, 1).returncode == 1


def test_an_id_that_syncrify_repeats_after_its_restart_is_another_job(running: Daemon) -> None:
    last = last_job(running)
    who = ("10.0.0.7", "563", "Repeated", "ann@example.com")
    event(running, "true", *who, 0, 0, "1")
    event(running, "false", *who, 1, 1, "1")
    assert event(running, "true", *who, 0, 0, "1").returncode == 0
    assert event(running, "false", *who, 2, 2, "1").returncode == 0
    assert (job(running, last + 1).file_count, job(running, last + 2).file_count) == (1, 2)


def test_values_that_look_like_options_are_values(running: Daemon) -> None:
    last = last_job(running)
    done = event(running, "true", "fe80::1%eth0", "--json", "-rf", "--help", 0, 0, "--socket")
    assert (done.returncode, done.stderr) == (0, "")
    kept = job(running, last + 1)
    assert (kept.client_build_no, kept.profile, kept.user) == ("--json", "-rf", "--help")
    assert kept.server_job_id == "--socket"
