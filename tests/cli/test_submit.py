# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl start and hookctl end against a real daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.hookctl import HOOKCTL, hookctl
from tests.support.daemon import Daemon

WHO = ("--profile", "Mail Archive", "--user", "ann@example.com", "--client-ip", "10.0.0.7")


@pytest.fixture
def running(daemon: Daemon) -> Daemon:
    """Return a started daemon whose one hook writes down what it is told."""
    script = daemon.script("note", f'echo "$HOOKD_PHASE $*" >>{daemon.directory}/notes\n')
    daemon.hook("note", f'command = "{script} $JOB_ID $PROFILE $FILE_COUNT $OUTCOME"\n')
    daemon.start()
    return daemon


def notes(daemon: Daemon) -> list[str]:
    """Return what the hook has written."""
    return (daemon.directory / "notes").read_text().splitlines()


def test_a_job_from_start_to_end(running: Daemon) -> None:
    started = hookctl("--socket", running.socket, "start", *WHO, "--wait")
    assert (started.returncode, started.stdout, started.stderr) == (0, "1\n", "")
    ended = hookctl(
        "--socket", running.socket, "end", "1", "--file-count", "12", "--byte-count", "34567",
        "--outcome", "warning", "--message", "two files were open", "--wait",
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert notes(running) == ["start 1 Mail_Archive 0 ", "end 1 Mail_Archive 12 warning"]
    with running.client() as hookd:
        job = hookd.get_job(1)
    assert (job.file_count, job.byte_count, job.message) == (12, 34567, "two files were open")


def test_what_start_was_told_is_kept(running: Daemon) -> None:
    more = ("--client-build-no", "563", "--server-job-id", "b-17", "--request-id", "r-1")
    attributes = ("--attribute", "tape=A=7", "--attribute", "empty=")
    hookctl("--socket", running.socket, "start", *WHO, *more, *attributes)
    with running.client() as hookd:
        job = hookd.get_job(1)
    assert (job.profile, job.user, job.client_ip) == (
        "Mail Archive",
        "ann@example.com",
        "10.0.0.7",
    )
    assert (job.client_build_no, job.server_job_id, job.request_id) == ("563", "b-17", "r-1")
    assert job.attributes == {"tape": "A=7", "empty": ""}


def test_the_same_request_id_is_the_same_job(running: Daemon) -> None:
    request = ("--socket", running.socket, "start", *WHO, "--request-id", "r-1")
    assert hookctl(*request).stdout == hookctl(*request).stdout == "1\n"
    conflict = hookctl(*request, "--client-build-no", "9")
    assert (conflict.returncode, conflict.stdout) == (1, "")
    assert conflict.stderr == (
        "hookctl: request_id 'r-1' was used by another request, for job 1 "
        "(give each new request an ID of its own)\n"
    )


def test_json_is_the_whole_answer(running: Daemon) -> None:
    started = json.loads(
        hookctl("--json", "--socket", running.socket, "start", *WHO, "--wait").stdout
    )
    assert (started["job_id"], started["duplicate"], started["allowed"]) == (1, False, True)
    assert [run["result"] for run in started["hooks"]] == ["success"]
    ended = json.loads(hookctl("--socket", running.socket, "end", "1", "--json").stdout)
    assert ended["job_id"] == 1


def test_end_by_other_names(running: Daemon) -> None:
    at = ("--socket", running.socket)
    hookctl(*at, "start", *WHO, "--server-job-id", "b-1")
    hookctl(*at, "start", *WHO)
    hookctl(*at, "start", *WHO)
    hookctl(*at, "start", "--profile", "Other", "--client-ip", "10.0.0.7")
    assert hookctl(*at, "end", "--server-job-id", "b-1").returncode == 0
    assert hookctl(*at, "end", *WHO).returncode == 0
    with running.client() as hookd:
        states = [hookd.get_job(n).state.value for n in (1, 2, 3, 4)]
    assert states == ["ended", "running", "ended", "running"]
    missing = hookctl(*at, "end", "--profile", "None such")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "profile=None such" in missing.stderr


def test_a_failed_hook_fails_the_command_that_waited_for_it(running: Daemon) -> None:
    bad = running.script("bad", "exit 3\n")
    running.hook("bad", f'command = "{bad}"\nphases = ["start"]\n')
    at = ("--socket", running.socket)
    assert hookctl(*at, "reload").returncode == 0
    waited = hookctl(*at, "start", *WHO, "--wait")
    assert (waited.returncode, waited.stdout) == (1, "1\n")
    assert waited.stderr.startswith("hookctl: hook bad (run ")
    assert waited.stderr.endswith("): failed exit status 3\n")
    assert hookctl(*at, "start", *WHO).returncode == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_a_gate_refuses(daemon: Daemon, as_json: bool) -> None:
    gate = daemon.script("gate", "echo looking; echo the tape is full; exit 1\n")
    daemon.hook("gate", f'command = "{gate}"\nkind = "gate"\nphases = ["start"]\n')
    daemon.start()
    options = ("--json",) if as_json else ()
    refused = hookctl("--socket", daemon.socket, *options, "start", *WHO)
    assert refused.returncode == 75
    assert refused.stderr == "hookctl: job 1 is refused: the tape is full\n"
    assert as_json or refused.stdout == ""
    assert not as_json or json.loads(refused.stdout)["reason"] == "the tape is full"


def test_refusals_are_one_line_with_what_to_do_next(running: Daemon, tmp_path: Path) -> None:
    at = ("--socket", running.socket)
    hookctl(*at, "start", *WHO)
    hookctl(*at, "end", "1", "--outcome", "success")
    for arguments, said in (
        (("end", "1"), "job 1 has ended already, outcome success (hookctl job shows how)"),
        (("end", "99"), "no job 99 (hookctl jobs lists the known ones)"),
        (("job", "99"), "no job 99 (hookctl jobs lists the known ones)"),
        (("start", "--profile", "x", "--client-ip", "y"), "client_ip: found "),
        (("end", "1", "--file-count", "-5"), "file_count: found -5"),
    ):
        done = hookctl(*at, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"hookctl: {said}")
        assert len(done.stderr.splitlines()) == 1


def test_a_hook_may_call_hookctl_but_not_wait_for_itself(daemon: Daemon) -> None:
    at = f"{HOOKCTL} --socket {daemon.socket}"
    asks = daemon.script(
        "asks",
        f"{at} start --profile inner --client-ip ::1 || exit 1\n"
        f"{at} end $HOOKD_JOB_ID --wait; test $? = 1 || exit 2\n"
        f"{at} end $HOOKD_JOB_ID\n",
    )
    daemon.hook("asks", f'command = "{asks}"\nphases = ["start"]\n[match]\nprofile = ["outer"]\n')
    daemon.start()
    outer = ("--profile", "outer", "--client-ip", "::1", "--wait")
    done = hookctl("--socket", daemon.socket, "start", *outer)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    with daemon.client() as hookd:
        assert hookd.get_job(1).state.value == "ended"
        assert hookd.get_job(2).profile == "inner"
