# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl start and hookctl end against a real daemon."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.hookctl import HOOKCTL, hookctl
from tests.support.daemon import Daemon

WHO = ("--profile", "Mail Archive", "--user", "ann@example.com", "--client-ip", "10.0.0.7")
GATED = ("--profile", "Gated", "--client-ip", "10.0.0.7")


@pytest.fixture(scope="module")
def running(shared: Daemon) -> Daemon:
    """Return a started daemon: a hook writes down what it is told of the jobs of WHO.

    Jobs of the profile Gated are refused; of outer, a hook says more to hookd.
    """
    match = '[match]\nprofile = ["{}"]\n'.format
    note = shared.script("note", f'echo "$HOOKD_PHASE $*" >>{shared.directory}/notes-$1\n')
    command = f'command = "{note} $JOB_ID $PROFILE $FILE_COUNT $OUTCOME"\n'
    shared.hook("note", command + match("Mail Archive"))
    gate = shared.script("gate", "echo looking; echo the tape is full; exit 1\n")
    gated = f'command = "{gate}"\nkind = "gate"\nphases = ["start"]\n'
    shared.hook("gate", gated + match("Gated"))
    at = f"{HOOKCTL} --socket {shared.socket}"
    asks = shared.script(
        "asks",
        f"{at} start --profile inner --client-ip ::1 >{shared.directory}/inner || exit 1\n"
        f"{at} end $HOOKD_JOB_ID --wait; test $? = 1 || exit 2\n"
        f"{at} end $HOOKD_JOB_ID\n",
    )
    shared.hook("asks", f'command = "{asks}"\nphases = ["start"]\n' + match("outer"))
    shared.start()
    return shared


def notes(daemon: Daemon, job_id: int) -> list[str]:
    """Return what the hook has written of a job."""
    return (daemon.directory / f"notes-{job_id}").read_text().splitlines()


def started(daemon: Daemon, profile: str, server_job_id: str | None = None) -> int:
    """Start a job of this profile, and else as WHO says; return its ID."""
    user, client_ip = "ann@example.com", "10.0.0.7"
    with daemon.client() as hookd:
        job = hookd.start_job(
            profile=profile, user=user, client_ip=client_ip, server_job_id=server_job_id
        )
    return job.job_id


def test_a_job_from_start_to_end(running: Daemon) -> None:
    started = hookctl("--socket", running.socket, "start", *WHO, "--wait")
    assert (started.returncode, started.stderr) == (0, "")
    assert re.fullmatch(r"\d+\n", started.stdout)
    n = int(started.stdout)
    ended = hookctl(
        "--socket", running.socket, "end", str(n), "--file-count", "12", "--byte-count", "34567",
        "--outcome", "warning", "--message", "two files were open", "--wait",
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert notes(running, n) == [f"start {n} Mail_Archive 0 ", f"end {n} Mail_Archive 12 warning"]
    with running.client() as hookd:
        job = hookd.get_job(n)
    assert (job.file_count, job.byte_count, job.message) == (12, 34567, "two files were open")


def test_what_start_was_told_is_kept(running: Daemon) -> None:
    more = ("--client-build-no", "563", "--server-job-id", "b-17", "--request-id", "kept")
    attributes = ("--attribute", "tape=A=7", "--attribute", "empty=")
    done = hookctl("--socket", running.socket, "start", *WHO, *more, *attributes)
    with running.client() as hookd:
        job = hookd.get_job(int(done.stdout))
    assert (job.profile, job.user, job.client_ip) == (
        "Mail Archive",
        "ann@example.com",
        "10.0.0.7",
    )
    assert (job.client_build_no, job.server_job_id, job.request_id) == ("563", "b-17", "kept")
    assert job.attributes == {"tape": "A=7", "empty": ""}


def test_the_same_request_id_is_the_same_job(running: Daemon) -> None:
    request = ("--socket", running.socket, "start", *WHO, "--request-id", "r-1")
    job_id = hookctl(*request).stdout
    assert re.fullmatch(r"\d+\n", job_id)
    assert hookctl(*request).stdout == job_id
    conflict = hookctl(*request, "--client-build-no", "9")
    assert (conflict.returncode, conflict.stdout) == (1, "")
    assert conflict.stderr == (
        "hookctl: request_id 'r-1' was used by another request, "
        f"for job {job_id.strip()} "
        "(give each new request an ID of its own)\n"
    )


def test_json_is_the_whole_answer(running: Daemon) -> None:
    started = json.loads(
        hookctl("--json", "--socket", running.socket, "start", *WHO, "--wait").stdout
    )
    assert (started["duplicate"], started["allowed"]) == (False, True)
    assert [run["result"] for run in started["hooks"]] == ["success"]
    job_id = started["job_id"]
    assert notes(running, job_id) == [f"start {job_id} Mail_Archive 0 "]
    named = ("end", str(job_id), "--json")
    ended = json.loads(hookctl("--socket", running.socket, *named).stdout)
    assert ended["job_id"] == job_id


def test_end_by_other_names(running: Daemon) -> None:
    at = ("--socket", running.socket)
    jobs = [
        started(running, "Many", "b-1"),
        *(started(running, profile) for profile in ("Many", "Many", "Other")),
    ]
    assert hookctl(*at, "end", "--server-job-id", "b-1").returncode == 0
    assert hookctl(*at, "end", "--profile", "Many", *WHO[2:]).returncode == 0
    with running.client() as hookd:
        states = [hookd.get_job(n).state.value for n in jobs]
    assert states == ["ended", "running", "ended", "running"]
    missing = hookctl(*at, "end", "--profile", "None such")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "profile=None such" in missing.stderr


def test_a_failed_hook_fails_the_command_that_waited_for_it(running: Daemon) -> None:
    bad = running.script("bad", "exit 3\n")
    running.hook("bad", f'command = "{bad}"\nphases = ["start"]\n[match]\nprofile = ["Failing"]\n')
    who = ("--profile", "Failing", "--client-ip", "10.0.0.7")
    at = ("--socket", running.socket)
    assert hookctl(*at, "reload").returncode == 0
    waited = hookctl(*at, "start", *who, "--wait")
    assert waited.returncode == 1
    assert re.fullmatch(r"\d+\n", waited.stdout)
    assert waited.stderr.startswith("hookctl: hook bad (run ")
    assert waited.stderr.endswith("): failed exit status 3\n")
    assert hookctl(*at, "start", *who).returncode == 0


@pytest.mark.parametrize("event", ["start", "end"])
def test_a_hook_that_succeeds_in_the_end_has_succeeded(running: Daemon, event: str) -> None:
    name = f"third-{event}"
    script = running.script(name, 'test "$HOOKD_ATTEMPT" = 3\n')
    options = f'phases = ["{event}"]\n[match]\nprofile = ["{name}"]\n'
    retry = '[retry]\nattempts = 3\nbackoff = "100ms"\n'
    running.hook(name, f'command = "{script}"\n{options}{retry}')
    at = ("--socket", running.socket)
    assert hookctl(*at, "reload").returncode == 0
    if event == "start":
        who = ("--profile", name, "--client-ip", "10.0.0.7")
        done = hookctl(*at, "--json", "start", *who, "--wait")
    else:
        done = hookctl(*at, "--json", "end", str(started(running, name)), "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    results = [run["result"] for run in json.loads(done.stdout)["hooks"]]
    assert results == ["failed", "failed", "success"]
    listed = hookctl(*at, "jobs", "--profile", name).stdout.splitlines()
    assert listed[1].endswith(" 1 success")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_gate_refuses(running: Daemon, as_json: bool) -> None:
    last = started(running, "before")
    options = ("--json",) if as_json else ()
    refused = hookctl("--socket", running.socket, *options, "start", *GATED)
    assert refused.returncode == 75
    assert refused.stderr == f"hookctl: job {last + 1} is refused: the tape is full\n"
    assert as_json or refused.stdout == ""
    assert not as_json or json.loads(refused.stdout)["reason"] == "the tape is full"


def test_refusals_are_one_line_with_what_to_do_next(running: Daemon, tmp_path: Path) -> None:
    at = ("--socket", running.socket)
    ended = str(started(running, "Refused"))
    hookctl(*at, "end", ended, "--outcome", "success")
    has_ended = f"job {ended} has ended already, outcome success (hookctl job shows how)"
    refused = hookctl(*at, "--json", "start", *GATED)
    refused_id = str(json.loads(refused.stdout)["job_id"])
    no_end = f"the start of job {refused_id} was refused, so it has no end: the tape is full"
    unknown = "no job 999999 (hookctl jobs lists the known ones)"
    for arguments, said in (
        (("end", ended), has_ended),
        (("end", refused_id), no_end),
        (("end", "999999"), unknown),
        (("job", "999999"), unknown),
        (
            ("start", "--profile", "x", "--client-ip", "y"),
            "client_ip: must be an IPv4 or IPv6 address",
        ),
        (("end", ended, "--file-count", "-5"), "file_count: must be from 0 to 2^63-1, not -5"),
    ):
        done = hookctl(*at, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"hookctl: {said}")
        assert len(done.stderr.splitlines()) == 1


def test_a_hook_may_call_hookctl_but_not_wait_for_itself(running: Daemon) -> None:
    outer = ("--profile", "outer", "--client-ip", "::1", "--wait")
    done = hookctl("--socket", running.socket, "start", *outer)
    assert (done.returncode, done.stderr) == (0, "")
    inner = int((running.directory / "inner").read_text())
    with running.client() as hookd:
        assert hookd.get_job(int(done.stdout)).state.value == "ended"
        assert hookd.get_job(inner).profile == "inner"
