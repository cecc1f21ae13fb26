# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bridges of packaging/examples, run beside a real daemon as the programs would run them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from hookd.model import Job
from tests.cli.hookctl import HOOKCTL
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

BRIDGES = Path(__file__).parents[2] / "packaging" / "examples" / "bridges"


@pytest.fixture
def path(daemon: Daemon) -> str:
    """Start the daemon; return a PATH whose hookctl speaks to it."""
    programs = daemon.directory / "bin"
    programs.mkdir()
    hookctl = programs / "hookctl"
    hookctl.write_text(f'#!/bin/sh\nexec {HOOKCTL} --socket {daemon.socket} "$@"\n')
    hookctl.chmod(0o755)
    gate = daemon.script("gate", 'test "$HOOKD_PROFILE" != full\n')
    daemon.hook("gate", f'command = "{gate}"\nkind = "gate"\nphases = ["start"]\n')
    daemon.start()
    return f"{programs}:{os.environ['PATH']}"


def bridge(path: str, name: str, *words: str) -> subprocess.Popen[str]:
    """Start a bridge with these words."""
    return subprocess.Popen([str(BRIDGES / name), *words], env={"PATH": path}, text=True)


def job(daemon: Daemon, job_id: int) -> Job:
    """Return what hookd knows of a job."""
    with daemon.client() as hookd:
        return hookd.get_job(job_id)


@pytest.mark.parametrize(("program", "outcome"), [("true", "success"), ("exit 23", "error")])
def test_the_wrapper_ends_as_its_program(
    daemon: Daemon, path: str, program: str, outcome: str
) -> None:
    done = bridge(path, "backup-wrapper", "my docs", "ann@example.com", "sh", "-c", program)
    assert done.wait(30) == (0 if outcome == "success" else 23)
    kept = job(daemon, 1)
    assert (kept.profile, kept.user, kept.outcome) == ("my docs", "ann@example.com", outcome)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_wrapper_says_so(daemon: Daemon, path: str, number: int) -> None:
    waiting = f"touch {daemon.directory}/on; exec sleep 60"
    wrapper = bridge(path, "backup-wrapper", "my docs", "ann@example.com", "sh", "-c", waiting)
    eventually((daemon.directory / "on").exists)
    wrapper.send_signal(number)
    assert wrapper.wait(30) == 128 + number
    assert job(daemon, 1).outcome == "canceled"


def test_a_refused_wrapper_runs_nothing(daemon: Daemon, path: str) -> None:
    mark = daemon.directory / "ran"
    wrapper = bridge(path, "backup-wrapper", "full", "ann@example.com", "touch", str(mark))
    assert wrapper.wait(30) == 75
    assert not mark.exists()


def test_backuppc_pairs_start_and_end_by_host(daemon: Daemon, path: str) -> None:
    for words in (
        ("start", "full", "alpha", "10.0.0.7", "ann"),
        ("start", "incr", "beta", "10.0.0.8", "bob"),
        ("end", "full", "alpha", "10.0.0.7", "ann", "1"),
        ("end", "incr", "beta", "10.0.0.8", "bob", "0"),
    ):
        assert bridge(path, "backuppc", *words).wait(30) == 0
    first, second = job(daemon, 1), job(daemon, 2)
    assert (first.profile, first.attributes, first.outcome) == (
        "backuppc/alpha",
        {"type": "full"},
        "success",
    )
    assert (second.client_ip, second.user, second.outcome) == ("10.0.0.8", "bob", "error")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("OK", "success"),
        ("OK -- with warnings", "warning"),
        ("Canceled", "canceled"),
        ("Fatal Error", "error"),
    ],
)
def test_bacula_passes_its_status_and_counts(
    daemon: Daemon, path: str, status: str, outcome: str
) -> None:
    assert bridge(path, "bacula", "start", "7", "BackupClient1", "127.0.0.1", "Full").wait(30) == 0
    assert bridge(path, "bacula", "end", "7", status, "12", "34567").wait(30) == 0
    kept = job(daemon, 1)
    assert (kept.server_job_id, kept.profile) == ("bacula-7", "BackupClient1")
    assert (kept.file_count, kept.byte_count, kept.outcome) == (12, 34567, outcome)
