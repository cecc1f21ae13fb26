# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl test: a hook is tried, and its output is seen."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.cli.hookctl import HOOKCTL, hookctl
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

SCRIPT = """\
echo "$HOOKD_TEST $HOOKD_PHASE $1"
printf 'a\\tb\\033[31m\\n'
echo problem >&2
exit ${CODE:-0}
"""


@pytest.fixture(scope="module")
def talks(shared: Daemon) -> Daemon:
    """Return a daemon with a hook that talks, some that fail and one that hangs.

    Only the one that a job may park matches jobs of "Parks"; no other job is started.
    """
    (shared.directory / "hookd.toml").write_text('[daemon]\ndrain = "1s"\n')
    mail, parks = '[match]\nprofile = ["my mail"]\n', '[match]\nprofile = ["Parks"]\n'
    script = shared.script("talks", SCRIPT)
    command = f'command = "{script} $PROFILE"\n'
    shared.hook("talks", command + '[match]\nprofile = ["Mail"]\n')
    secret = '[run]\nenvironment = { CODE = "3", SECRET = "hunter2" }\n'
    shared.hook("fails", command + mail + secret)
    shared.hook("hangs", 'command = "/bin/sleep 60"\n' + mail)
    once = "[retry]\nquarantine_after = 1\n"
    shared.hook("parks", 'command = "/bin/false"\n' + parks + once)
    shared.hook("stays", 'command = "/bin/false"\n' + mail + once)
    again = '[retry]\nattempts = 3\nbackoff = "5min"\n'
    shared.hook("again", 'command = "/bin/false"\n' + mail + again)
    shared.start()
    return shared


def test_a_true_run_with_its_output(talks: Daemon) -> None:
    at = ("--socket", talks.socket)
    done = hookctl(*at, "test", "talks", "--phase", "end", "--profile", "my mail")
    assert done.returncode == 0
    assert done.stdout == "1 end my_mail\na\tb\\x1b[31m\n"
    lines = done.stderr.splitlines()
    assert lines[0] == "problem"
    assert lines[1].startswith("hookctl: hook talks (run ")
    assert lines[1].endswith("): success")
    newest = hookctl(*at, "jobs").stdout.splitlines()[1]
    assert " success (test) " in newest


def test_a_failure_is_1(talks: Daemon) -> None:
    done = hookctl("--socket", talks.socket, "test", "fails")
    assert done.returncode == 1
    assert "hook fails (run " in done.stderr
    assert "failed exit status 3" in done.stderr
    unknown = hookctl("--socket", talks.socket, "test", "nothing")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "hookctl: no hook 'nothing' (hookctl hooks lists the known ones)\n"


def test_a_parked_hook_can_be_tried(talks: Daemon) -> None:
    at = ("--socket", talks.socket)
    job = ("--profile", "Parks", "--client-ip", "::1", "--wait")
    assert hookctl(*at, "start", *job).returncode == 1
    assert "the hook is parked" in hookctl(*at, "job", hookctl(*at, "start", *job).stdout).stdout
    assert "failed exit status 1" in hookctl(*at, "test", "parks").stderr
    assert " 1 parked" in hookctl(*at, "status").stdout
    assert hookctl(*at, "resume", "parks").returncode == 0


def test_a_test_that_fails_parks_nothing(talks: Daemon) -> None:
    at = ("--socket", talks.socket)
    assert hookctl(*at, "test", "stays").returncode == 1
    assert " 0 parked" in hookctl(*at, "status").stdout


def test_a_test_is_not_tried_again(talks: Daemon) -> None:
    at = ("--socket", talks.socket)
    assert "failed exit status 1" in hookctl(*at, "test", "again").stderr
    newest = hookctl(*at, "jobs").stdout.splitlines()[1]
    assert newest.endswith(" 1 failed")


def test_the_same_request_is_one_run(talks: Daemon) -> None:
    at = ("--socket", talks.socket, "test", "--request-id", "r")
    first, again = hookctl(*at, "talks"), hookctl(*at, "talks", "--wait")
    assert (first.returncode, again.returncode, again.stdout) == (0, 0, "")
    assert first.stderr.splitlines()[1:] == again.stderr.splitlines()
    other = hookctl(*at, "fails")
    assert other.returncode == 1
    assert "request" in other.stderr


def test_json_has_run_and_output(talks: Daemon) -> None:
    done = hookctl("--socket", talks.socket, "--json", "test", "fails")
    assert done.returncode == 1
    reply = json.loads(done.stdout)
    assert (reply["run"]["result"], reply["run"]["exit_status"]) == ("failed", 3)
    assert {line["stream"] for line in reply["output"]} == {"stdout", "stderr"}


def test_a_dry_run_starts_nothing_and_tells_no_secret(talks: Daemon) -> None:
    at = ("--socket", talks.socket, "test", "--dry-run")
    done = hookctl(*at, "fails", "--profile", "my mail", "--client-ip", "10.0.0.7")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("would run for such a job")
    assert lines[lines.index("arguments:") + 2] == "  my_mail"
    assert "  HOOKD_CLIENT_IP=10.0.0.7" in lines
    assert "hunter2" not in done.stdout
    other = hookctl(*at, "talks", "--profile", "Photos")
    assert other.stdout.startswith("would not run for such a job: match.profile: ")


def test_an_interrupted_test_says_that_the_run_goes_on(talks: Daemon) -> None:
    command = [HOOKCTL, "--socket", str(talks.socket), "test", "hangs"]
    test = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def running() -> int:
        status = json.loads(hookctl("--socket", talks.socket, "--json", "status").stdout)
        return int(status["running"])

    eventually(running)
    test.send_signal(signal.SIGINT)
    said = test.communicate(timeout=30)[1]
    assert test.returncode == 130
    assert "goes on (hookctl cancel --run " in said
    cancel = said.rpartition("(hookctl ")[2].rpartition(" ends it)")[0]
    assert hookctl("--socket", talks.socket, *cancel.split()).returncode == 0
    eventually(lambda: running() == 0)
