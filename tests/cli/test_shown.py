# SPDX-License-Identifier: LGPL-2.1-or-later
"""What hookctl shows of a daemon: status, jobs, job, hooks; piped and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.hookctl import HOOKCTL, called, hookctl
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

EVIL = "a\x1b[31mred\nforged line \x07 \u202e"
JOB: dict[str, Any] = {"user": "ann@example.com", "client_build_no": "563"}


@pytest.fixture(scope="module")
def running(shared: Daemon) -> Daemon:
    """Return a daemon with three jobs: one failed a hook, one is refused nothing, one runs."""
    bad = shared.script("bad", "echo no good; exit 3\n")
    shared.hook("bad", f'command = "{bad}"\nphases = ["end"]\n[match]\nprofile = ["Mail"]\n')
    shared.hook("good", 'command = "/bin/true"\n')
    shared.start()
    with shared.client() as hookd:
        for profile, ip in (("Mail", "10.0.0.7"), (EVIL, "10.0.0.8"), ("Photos", "fe80::1")):
            hookd.start_job(profile=profile, client_ip=ip, request_id=ip, wait=True, **JOB)
        hookd.end_job(1, file_count=12, byte_count=1536, outcome="error", wait=True)
        hookd.end_job(2, outcome="success", wait=True)
    return shared


def on_terminal(columns: int, *arguments: str | Path, **environment: str) -> str:
    """Run hookctl on a terminal of that width; return what came to the screen."""
    ours, theirs = pty.openpty()
    environment = {"COLUMNS": str(columns), "TERM": "xterm-256color"} | environment
    with subprocess.Popen(
        [HOOKCTL, *map(str, arguments)], stdout=theirs, env=os.environ | environment
    ) as process:
        os.close(theirs)
        screen = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed, see pty(7)
                break
            screen += data
        process.wait(30)
    os.close(ours)
    return screen.decode()


def test_jobs_piped_are_aligned_whole_and_safe(running: Daemon) -> None:
    done = hookctl("--socket", running.socket, "jobs")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "JOB", "STATE", "PROFILE", "USER", "CLIENT", "STARTED", "DURATION", "FILES", "BYTES",
        "HOOKS",
    ]  # fmt: skip
    assert [line.split()[:2] for line in lines[1:]] == [
        ["3", "running"],
        ["2", "success"],
        ["1", "error"],
    ]
    assert lines[3].endswith(" 12   1.5K  2 success, 1 failed")
    assert r"a\x1b[31mred\x0aforged line \x07 \u202e" in lines[2]
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--state", "running"], [3]),
        (["--state", "ended"], [2, 1]),
        (["--profile", "Mail"], [1]),
        (["--user", "ann@example.com"], [3, 2, 1]),
        (["--user", "nobody"], []),
        (["--client-ip", "10.0.0.8"], [2]),
        (["--outcome", "error"], [1]),
        (["--since", "1h"], [3, 2, 1]),
        (["--since", "2999-01-01"], []),
        (["--until", "2001-01-01 10:00"], []),
        (["--state", "ended", "--outcome", "success"], [2]),
    ],
)
def test_jobs_are_filtered(running: Daemon, filters: list[str], expected: list[int]) -> None:
    done = called("--socket", running.socket, "--json", "jobs", *filters)
    assert done.returncode == 0
    page = json.loads(done.stdout)
    assert [job["job_id"] for job in page["jobs"]] == expected


def test_pages_follow_one_another(running: Daemon) -> None:
    at = ("--socket", running.socket, "jobs", "--limit", "2")
    first = hookctl(*at)
    assert [line.split()[0] for line in first.stdout.splitlines()[1:]] == ["3", "2"]
    found = re.fullmatch(
        r"hookctl: there are older jobs: repeat with --cursor (\S+)\n", first.stderr
    )
    assert found
    second = hookctl(*at, "--cursor", found.group(1))
    assert [line.split()[0] for line in second.stdout.splitlines()[1:]] == ["1"]
    assert second.stderr == ""


def test_the_life_of_a_job(running: Daemon) -> None:
    done = hookctl("--socket", running.socket, "job", "1")
    assert (done.returncode, done.stderr) == (0, "")
    life = re.sub(r"(?m)^ *\+\S+ +", "AT ", done.stdout)
    assert life.splitlines()[0] == "job 1: error"
    for line in (
        "  profile  Mail",
        "  client   10.0.0.7 build 563",
        "  contents 12 files, 1.5K",
        "AT job started",
        "AT job ended: error",
    ):
        assert line in life.splitlines()
    assert re.search(r"AT start hook good \(run \d+\) success\n +wall ", life)
    assert re.search(r"AT end hook bad \(run \d+\) failed exit status 3\n +wall ", life)
    order = [
        life.index(word) for word in ("job started", "start hook good", "job ended", "end hook")
    ]
    assert order == sorted(order)


def test_status_of_a_healthy_daemon(running: Daemon) -> None:
    done = hookctl("--socket", running.socket, "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "healthy"
    assert "  hooks    2 configured, 0 parked" in done.stdout.splitlines()
    assert "  jobs     1 open" in done.stdout.splitlines()
    found = json.loads(hookctl("--socket", running.socket, "--json", "status").stdout)
    assert (found["healthy"], found["hooks"], found["open_jobs"]) == (True, 2, 1)


def test_hooks_with_their_last_result(running: Daemon) -> None:
    done = hookctl("--socket", running.socket, "hooks")
    assert done.returncode == 0
    bad, good = done.stdout.splitlines()[1:]
    assert bad.split()[:5] == ["bad", "notify", "end", "ready", "1"]
    assert "failed exit status 3" in bad
    assert good.split()[:7] == ["good", "notify", "start,end", "ready", "0", "-", "success"]


def test_hooks_say_when_the_next_attempt_is(daemon: Daemon) -> None:
    daemon.hook("fails", 'command = "/bin/false"\n[retry]\nattempts = 2\nbackoff = "10min"\n')
    daemon.start()
    with daemon.client() as hookd:
        hookd.start_job(profile="Mail", client_ip="::1", **JOB)
        eventually(lambda: len(hookd.get_job(1).hooks) == 2)
    (row,) = hookctl("--socket", daemon.socket, "hooks").stdout.splitlines()[1:]
    assert re.match(r"fails +notify +start,end +1 waiting +1 +\d{4}-\d\d-\d\d ..:..:.. ", row)
    (hook,) = json.loads(hookctl("--socket", daemon.socket, "--json", "hooks").stdout)
    assert 290 < hook["next_retry_usec"] / 1e6 - time.time() <= 600


@pytest.mark.parametrize("columns", [80, 200])
def test_tables_fit_the_terminal(running: Daemon, columns: int) -> None:
    for command in (["jobs"], ["hooks"], ["job", "1"], ["status"]):
        screen = on_terminal(columns, "--socket", running.socket, *command)
        assert "\x1b[" in screen, "no colours"
        bare = re.sub(r"\x1b\[[0-9;]*m", "", screen)
        assert "\x1b" not in bare
        if command[0] in ("jobs", "hooks"):
            assert max(map(len, bare.splitlines())) <= columns
    plain = on_terminal(columns, "--socket", running.socket, "jobs", NO_COLOR="1")
    assert "\x1b[3" not in plain


def test_a_reader_that_leaves_early_is_told_nothing(running: Daemon) -> None:
    again = (  # the request of a job that is there: other tests look at all jobs
        "start --profile Photos --client-ip fe80::1 --request-id fe80::1"
        " --user ann@example.com --client-build-no 563"
    )
    assert hookctl("--socket", running.socket, *again.split()).stdout == "3\n"
    for words in ("jobs", "--help", again):
        command = f"{HOOKCTL} --socket {running.socket} {words} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("0\n", "")
