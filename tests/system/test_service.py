# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed services, driven as an administrator and a backup server would."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.box import Box
from tests.support.machine import Machine

CLIENT = "--user ann@example.com --client-ip 192.0.2.7"
FIELDS = {
    "HOOKD_PROFILE": "prod",
    "HOOKD_PHASE": "start",
    "HOOKD_EVENT": "true",
    "HOOKD_USER": "ann@example.com",
    "HOOKD_CLIENT_IP": "192.0.2.7",
    "HOOKD_CLIENT_BUILD_NO": "563",
    "HOOKD_FILE_COUNT": "0",
    "HOOKD_BYTE_COUNT": "0",
    "HOOKD_HOOK": "greet",
    "HOOKD_ATTEMPT": "1",
}
LOAD = Path(__file__).with_name("load.py").read_text()
RUN_STARTED = "dbaa8e38aafd47ea976dda9a0ab2ec21"
RUN_ENDED = "09e3561a475a479db2e0a0b14bb8fd5f"


def hook(box: Machine, name: str, command: str, more: str = "") -> None:
    """Make a hook and have it loaded."""
    box.write(f"/etc/hookd/hooks.d/{name}.toml", f"command = {json.dumps(command)}\n{more}")
    box.run("systemctl reload hookd.service")


def start(box: Machine, profile: str, options: str = "") -> int:
    """Start a job and return its ID."""
    return int(box.read(f"hookctl start --profile {profile} {CLIENT} {options}"))


def results(box: Machine, job: int) -> dict[str, str]:
    """Return the result of each of a job's runs, by hook; without those that have none yet."""
    runs = json.loads(box.read(f"hookctl --json job {job}"))["hooks"]
    return {run["hook"]: run["result"] for run in runs if run["result"]}


@pytest.fixture(scope="module")
def greeting(box: Box) -> Box:
    hook(box, "greet", "/bin/echo hello $PROFILE", '[match]\nprofile = "prod"\n')
    return box


START_JOB = {
    "profile": "prod",
    "user": "ann@example.com",
    "client_ip": "192.0.2.7",
    "client_build_no": "563",
    "wait": True,
}
CALL = json.dumps({"method": "io.hookd.Jobs.StartJob", "parameters": START_JOB})
WAYS = {
    "varlinkctl": "varlinkctl call --json=short /run/hookd/hookd.sock io.hookd.Jobs.StartJob "
    + shlex.quote(json.dumps(START_JOB))
    + " | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"job_id\"])'",
    "hookctl": f"hookctl start --profile prod {CLIENT} --client-build-no 563 --wait",
    "shell": f"printf '%s\\0' {shlex.quote(CALL)} "
    "| socat -t 10 - UNIX:/run/hookd/hookd.sock | sed 's/.*\"job_id\":\\([0-9]*\\).*/\\1/'",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_job_and_all_its_records(greeting: Box, way: str) -> None:
    job = greeting.read(WAYS[way], user="alice").strip("\0")
    started, output, ended = greeting.records(f"HOOKD_JOB_ID={job}", "HOOKD_HOOK=greet")
    for record in (started, ended):
        assert {key: record.get(key) for key in FIELDS} == FIELDS
        assert int(record["OBJECT_PID"]) > 1
    for record in (started, output, ended):
        assert record["_SYSTEMD_UNIT"] == "hookd-runner.service"
        assert record["HOOKD_RUN_ID"] == started["HOOKD_RUN_ID"]
    assert started["MESSAGE_ID"] == RUN_STARTED
    assert (output["SYSLOG_IDENTIFIER"], output["HOOKD_STREAM"], output["MESSAGE"]) == (
        "greet",
        "stdout",
        "hello prod",
    )
    assert ended["MESSAGE_ID"] == RUN_ENDED
    assert (ended["HOOKD_RESULT"], ended["HOOKD_EXIT_STATUS"]) == ("success", "0")
    assert (ended["HOOKD_LEFTOVERS"], ended["HOOKD_SURVIVORS"]) == ("0", "0")
    assert (ended["HOOKD_OUTPUT_BYTES"], ended["HOOKD_OUTPUT_DROPPED"]) == ("11", "0")
    assert 0 < int(ended["HOOKD_CPU_USEC"]) < int(ended["HOOKD_DURATION_USEC"]) * 2
    assert int(ended["HOOKD_MEMORY_PEAK"]) > 0


def test_each_line_of_output_is_a_record(box: Box) -> None:
    hook(box, "lines", "/usr/bin/seq 500", '[match]\nprofile = "lines"\n')
    job = start(box, "lines", "--wait")
    found = box.records(f"HOOKD_JOB_ID={job}", "HOOKD_STREAM=stdout")
    assert [record["MESSAGE"] for record in found] == [str(n) for n in range(1, 501)]


def test_the_journal_explains_each_kind_of_record(greeting: Box) -> None:
    start(greeting, "prod", "--wait")
    explained = greeting.read(f"journalctl --sync; journalctl -x -n 1 MESSAGE_ID={RUN_ENDED}")
    assert "Defined-By: hookd" in explained
    assert "hookctl replay" in explained
    ours = greeting.read("grep -h '^-- ' /usr/lib/systemd/catalog/hookd.catalog")
    known = greeting.read("journalctl --list-catalog")
    for line in ours.splitlines():
        assert line.removeprefix("-- ") in known


def test_who_is_not_in_the_group_is_refused(greeting: Box) -> None:
    refused = greeting.run(WAYS["hookctl"], user="mallory", check=False)
    assert refused.status != 0
    assert "hookd" in refused.stderr
    managing = greeting.run("hookctl reload", user="alice", check=False)
    assert (managing.status, "permission denied" in managing.stderr.lower()) == (1, True)


def test_reload_takes_a_good_file_and_refuses_a_bad_one(greeting: Box) -> None:
    hook(greeting, "other", "/bin/echo other")
    assert "other" in greeting.read("hookctl hooks")
    greeting.write("/etc/hookd/hooks.d/other.toml", "comand = 3\n")
    assert greeting.run("systemctl reload hookd.service", check=False).status != 0
    status = greeting.read("systemctl status hookd.service --no-pager -n 50", check=False)
    assert "other.toml: comand: found an unknown key (did you mean command?)" in status
    assert "other" in greeting.read("hookctl hooks")
    greeting.run("rm /etc/hookd/hooks.d/other.toml && systemctl reload hookd.service")
    assert "other" not in greeting.read("hookctl hooks")


def test_the_socket_starts_both_services(greeting: Box) -> None:
    greeting.run("systemctl stop hookd.service hookd-runner.service")
    assert results(greeting, start(greeting, "prod", "--wait")) == {"greet": "success"}
    greeting.run("systemctl is-active hookd.service hookd-runner.service")


def test_a_runner_that_the_text_stops_comes_back_when_it_is_corrected(greeting: Box) -> None:
    unit = "hookd-runner.service"
    greeting.write("/etc/hookd/hooks.d/bad.toml", "comand = 1\n")
    greeting.run(f"systemctl kill --signal=KILL --kill-whom=main {unit}")
    greeting.until(
        lambda: (
            greeting.read(f"systemctl show -P ExecMainStatus -P ActiveState {unit}")
            in ("failed\n78", "78\nfailed")
        )
    )
    job = start(greeting, "prod")
    assert greeting.read("systemctl is-active hookd.service hookd-runner.socket") == (
        "active\nactive"
    )
    time.sleep(20)  # for as long as the server tries, the starts must become fewer
    starts = greeting.read(f"journalctl -q -o cat -u {unit} -g 'status=78' --since=-10s")
    assert len(starts.splitlines()) <= 3
    greeting.run("rm /etc/hookd/hooks.d/bad.toml")
    greeting.until(lambda: results(greeting, job) == {"greet": "success"}, 40)


def test_ten_thousand_runs_have_all_their_records(greeting: Box) -> None:
    hook(greeting, "short", "/bin/true", '[match]\nprofile = "many"\n')
    jobs = json.loads(greeting.read("python3 - 25 200 many", stdin=LOAD, seconds=300))
    assert len(set(jobs)) == 5000
    last = f"hookctl --json job {jobs[-1]}"
    greeting.until(lambda: '"state":"running"' not in greeting.read(last))
    for message_id in (RUN_STARTED, RUN_ENDED):
        records = greeting.records(f"MESSAGE_ID={message_id}", "HOOKD_HOOK=short")
        found = Counter((record["HOOKD_JOB_ID"], record["HOOKD_PHASE"]) for record in records)
        expected = {(str(job), phase): 1 for job in jobs for phase in ("start", "end")}
        assert found == expected
