# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bridges of packaging/examples, run beside a real daemon as the programs would run them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.hookctl import HOOKCTL
from tests.cli.jobs import job, last_job
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

BRIDGES = Path(__file__).parents[2] / "packaging" / "examples" / "bridges"


@pytest.fixture(scope="module")
def path(shared: Daemon) -> str:
    """Start the daemon; return a PATH whose hookctl speaks to it."""
    programs = shared.directory / "bin"
    programs.mkdir()
    hookctl = programs / "hookctl"
    hookctl.write_text(f'#!/bin/sh\nexec {HOOKCTL} --socket {shared.socket} "$@"\n')
    hookctl.chmod(0o755)
    gate = shared.script("gate", 'test "$HOOKD_PROFILE" != full\n')
    shared.hook("gate", f'command = "{gate}"\nkind = "gate"\nphases = ["start"]\n')
    shared.start()
    return f"{programs}:{os.environ['PATH']}"


def bridge(path: str, name: str, *words: str) -> subprocess.Popen[str]:
    """Start a bridge with these words."""
    return subprocess.Popen([str(BRIDGES / name), *words], env={"PATH": path}, text=True)


@pytest.mark.parametrize(("program", "outcome"), [("true", "success"), ("exit 23", "error")])
def test_the_wrapper_ends_as_its_program(
    shared: Daemon, path: str, program: str, outcome: str
) -> None:
    last = last_job(shared)
    done = bridge(path, "backup-wrapper", "my docs", "ann@example.com", "sh", "-c", program)
    assert done.wait(30) == (0 if outcome == "success" else 23)
    kept = job(shared, last + 1)
    assert (kept.profile, kept.user, kept.outcome) == ("my docs", "ann@example.com", outcome)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_wrapper_says_so(shared: Daemon, path: str, number: int) -> None:
    last = last_job(shared)
    on = shared.directory / f"on-{number}"
    waiting = f"touch {on}; exec sleep 60"
    wrapper = bridge(path, "backup-wrapper", "my docs", "ann@example.com", "sh", "-c", waiting)
    eventually(on.exists)
    wrapper.send_signal(number)
    assert wrapper.wait(30) == 128 + number
    assert job(shared, last + 1).outcome == "canceled"


def test_a_refused_wrapper_runs_nothing(shared: Daemon, path: str) -> None:
    mark = shared.directory / "ran"
    wrapper = bridge(path, "backup-wrapper", "full", "ann@example.com", "touch", str(mark))
    assert wrapper.wait(30) == 75
    assert not mark.exists()


def test_backuppc_pairs_start_and_end_by_host(shared: Daemon, path: str) -> None:
    last = last_job(shared)
    for words in (
        ("start", "full", "alpha", "10.0.0.7", "ann"),
        ("start", "incr", "beta", "10.0.0.8", "bob"),
        ("end", "full", "alpha", "10.0.0.7", "ann", "1"),
        ("end", "incr", "beta", "10.0.0.8", "bob", "0"),
    ):
        assert bridge(path, "backuppc", *words).wait(30) == 0
    first, second = job(shared, last + 1), job(shared, last + 2)
    assert (first.profile, first.attributes, first.outcome) == (
        "backuppc/alpha",
        {"type": "full"},
        "success",
    )
    assert (second.client_ip, second.user, second.outcome) == ("10.0.0.8", "bob", "error")


@pytest.mark.parametrize(
    ("number", "status", "outcome"),
    [
        ("7", "OK", "success"),
        ("8", "OK -- with warnings", "warning"),
        ("9", "Canceled", "canceled"),
        ("10", "Fatal Error", "error"),
    ],
)
def test_bacula_passes_its_status_and_counts(
    shared: Daemon, path: str, number: str, status: str, outcome: str
) -> None:
    last = last_job(shared)
    client = ("BackupClient1", "127.0.0.1")
    assert bridge(path, "bacula", "start", number, *client, "Full").wait(30) == 0
    assert bridge(path, "bacula", "end", number, status, "12", "34567").wait(30) == 0
    kept = job(shared, last + 1)
    assert (kept.server_job_id, kept.profile) == (f"bacula-{number}", "BackupClient1")
    assert (kept.file_count, kept.byte_count, kept.outcome) == (12, 34567, outcome)
