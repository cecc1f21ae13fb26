# SPDX-License-Identifier: LGPL-2.1-or-later
"""The clients of docs/clients, each run as its page says, against a real daemon."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.wire import Wire

CLIENTS = Path(__file__).parents[2] / "docs" / "clients"
EVIL = 'a "b" \\ $(id) `id` ; 🎉'


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Compile the Java client once; return the command that runs it."""
    if shutil.which("javac") is None:
        pytest.skip("no javac (Debian package default-jdk-headless): Java client not tested")
    classes = tmp_path_factory.mktemp("classes")
    quick = ["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"]
    javac = [
        "javac",
        *quick,
        "--release",
        "17",
        "-Xlint:all,-serial",
        "-Werror",
        "-d",
        str(classes),
    ]
    subprocess.run([*javac, str(CLIENTS / "Hookd.java")], check=True)
    return [
        "java",
        "-Dfile.encoding=UTF-8",
        "-Dsun.jnu.encoding=UTF-8",
        "-cp",
        str(classes),
        "Hookd",
    ]


@pytest.fixture
def go(tmp_path: Path) -> list[str]:
    """Compile the Go client; return the command that runs it."""
    if shutil.which("go") is None:
        pytest.skip("no go (Debian package golang-go): Go client not tested")
    program = tmp_path / "hookd-go"
    subprocess.run(["go", "build", "-o", str(program), str(CLIENTS / "hookd.go")], check=True)
    return [str(program)]


@pytest.fixture
def shell() -> list[str]:
    """Return the command of the shell client."""
    if shutil.which("socat") is None:
        pytest.skip("no socat: shell client not tested")
    return [str(CLIENTS / "hookd.sh")]


@pytest.fixture
def python() -> list[str]:
    """Return the command of the Python client."""
    return [sys.executable, str(CLIENTS / "backup_server.py")]


@pytest.fixture(params=["python", "java", "go", "shell"])
def program(request: pytest.FixtureRequest) -> list[str]:
    """Return the command of each client in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, list)
    return found


def run(program: list[str], daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a client by the words that all of them understand."""
    command = [*program, str(daemon.socket), *words]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


@pytest.fixture(scope="module")
def gated(shared: Daemon) -> Daemon:
    """Return a started daemon with a gate that takes its time, and refuses the profile `full`."""
    gate = shared.script("gate", 'sleep 0.6; test "$HOOKD_PROFILE_NAME" != full || exit 1\n')
    shared.hook("gate", f'command = "{gate}"\nkind = "gate"\nphases = ["start"]\n')
    shared.start()
    return shared


def newest(daemon: Daemon) -> str:
    """Return the ID of the job that was started last."""
    with Wire(daemon.socket) as wire:
        return str(wire.call("io.hookd.Manager.ListJobs", {"limit": 1})["jobs"][0]["job_id"])


def test_start_and_end(gated: Daemon, program: list[str]) -> None:
    started = run(program, gated, "start", EVIL, "ann@example.com", "fe80::1", "563")
    job_id = newest(gated)
    assert (started.returncode, started.stdout) == (0, f"{job_id}\n"), started.stderr
    ended = run(program, gated, "end", job_id, "12", str(2**62), "warning")
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    with gated.client() as hookd:
        job = hookd.get_job(int(job_id))
    assert (job.profile, job.user, job.client_ip) == (EVIL, "ann@example.com", "fe80::1")
    assert (job.file_count, job.byte_count, job.outcome) == (12, 2**62, "warning")
    assert job.request_id and job.end_request_id
    refused = run(program, gated, "start", "full", "ann@example.com", "fe80::1", "563")
    assert (refused.returncode, refused.stdout) == (75, "")
    again = run(program, gated, "end", job_id, "12", "1", "warning")
    assert again.returncode == 1
    assert "already" in again.stderr or "JobAlreadyEnded" in again.stderr
