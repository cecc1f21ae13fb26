# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl logs, read from a real journal; `tests/run` brings one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from hookd.cli.base import INTERRUPTED
from hookd.model import Job
from tests.cli.hookctl import HOOKCTL, hookctl
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

WHO = ("--profile", "Logged", "--user", "ann@example.com", "--client-ip", "10.0.0.7")


@pytest.fixture(scope="module")
def logged(shared: Daemon) -> Daemon:
    """Return a daemon whose records go to the journal; one hook of it fails and talks."""
    if not Path("/run/systemd/journal/socket").exists():
        assert not os.environ.get("CI"), "in CI there is a journal"
        pytest.skip("no journal listens: start the tests with tests/run")
    talks = shared.script(
        "talks", "echo first; printf 'evil \\033[31m\\n' >&2; echo last; exit 3\n"
    )
    shared.hook("says-evil", f'command = "{talks}"\nphases = ["start"]\n')
    shared.start()
    return shared


@pytest.fixture
def job(logged: Daemon) -> Job:
    """Return a job of the test's own: another test throws away what the journal has by then."""
    with logged.client() as hookd:
        job = hookd.start_job(
            profile="Logged", user="ann@example.com", client_ip="10.0.0.7", wait=True
        )
        subprocess.run(["journalctl", "--sync"], check=True)
        return hookd.get_job(job.job_id)


def lines(*arguments: str) -> list[str]:
    """Return what hookctl logs prints, without the time."""
    done = hookctl("logs", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [line[len("2026-01-31 18:00:00 ") :] for line in done.stdout.splitlines()]


def test_the_records_of_a_job_and_of_a_run(job: Job) -> None:
    found = lines(str(job.job_id), "--since", "1min")
    started = f"job {job.job_id} started"
    begun = found.index(f"hookd: {started}: profile Logged, user ann@example.com, client 10.0.0.7")
    told = found[begun:]
    for line in ("says-evil| first", r"says-evil| evil \x1b[31m", "says-evil| last"):
        assert line in told
    assert any("failed with exit status 3" in line for line in told)
    of_the_run = lines("--run", str(job.hooks[0].run_id), "-n", "50")
    assert "says-evil| first" in of_the_run
    assert not any(started in line for line in of_the_run)


def test_lines_and_since_narrow_it(logged: Daemon, job: Job) -> None:
    assert len(lines("-n", "2")) == 2
    assert hookctl("--socket", logged.socket, "reload").returncode == 0
    subprocess.run(["journalctl", "--sync"], check=True)
    assert any("configuration loaded: 1 hook" in line for line in lines("--since", "1min"))
    done = hookctl("logs", "--since", "2999-01-01")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("hookctl: no records found")


def test_json_has_the_fields(job: Job) -> None:
    run_id = str(job.hooks[0].run_id)
    done = hookctl("--json", "logs", "--run", run_id, "--since", "1min")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    ended = [record for record in records if record.get("HOOKD_RESULT")][-1]
    assert ended["HOOKD_JOB_ID"] == str(job.job_id)
    assert (ended["HOOKD_HOOK"], ended["HOOKD_EXIT_STATUS"]) == ("says-evil", "3")
    own = [r for r in records if r.get("HOOKD_HOOK") == "says-evil"]  # other tests have such a run
    said = {r["MESSAGE"] for r in own if r.get("HOOKD_STREAM") == "stderr"}
    assert said == {"evil \\x1b[31m"}
    assert all(record["time_usec"] > 1_600_000_000_000_000 for record in records)


def test_following_goes_on_over_a_rotation(logged: Daemon, job: Job) -> None:
    before, after = (f"job {job.job_id + n} started" for n in (1, 2))
    out = logged.directory / "followed"
    with out.open("wb") as file:
        command = [HOOKCTL, "logs", "-f", "-n", "1"]
        follower = subprocess.Popen(command, stdout=file)
    try:
        eventually(lambda: out.read_text().count("\n") == 1)
        hookctl("--socket", logged.socket, "start", *WHO, "--wait")
        eventually(lambda: before in out.read_text())
        subprocess.run(["journalctl", "--rotate", "--vacuum-time=1us"], check=True)
        hookctl("--socket", logged.socket, "start", *WHO, "--wait")
        eventually(lambda: after in out.read_text())
        assert [out.read_text().count(line) for line in (before, after)] == [1, 1]
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(30) == INTERRUPTED


def test_the_life_of_a_job_ends_with_what_its_hooks_said(logged: Daemon, job: Job) -> None:
    life = hookctl("--socket", logged.socket, "job", str(job.job_id)).stdout.splitlines()
    ended = next(n for n, line in enumerate(life) if "failed exit status 3" in line)
    said = [line.strip() for line in life[ended + 2 : ended + 5]]
    assert sorted(said) == sorted(["| first", "| evil \\x1b[31m", "| last"])
