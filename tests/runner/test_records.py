# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a run leaves in a real journal: contract §8, field by field."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from hookd.model import Phase, Result
from hookd.system import records
from tests.support.eventually import eventually
from tests.support.leftovers import alive
from tests.support.records import Records, listens
from tests.support.runner import Runner

SECRET = "correct-horse-battery-staple"
PRIORITIES = {"exit 0": 6, "exit 1": 3, "exit 75": 5, "kill -9 $$": 3, "sleep 60": 4}


pytestmark = pytest.mark.skipif(not listens(), reason="no journal listens (tests/run brings one)")


@pytest.fixture(scope="module")
def runner(shared_runner: Runner) -> Runner:
    """Return the one runner of this file: each test has it read its hook anew."""
    return shared_runner


def test_a_run_has_a_start_an_end_and_its_lines(runner: Runner) -> None:
    journal = Records()
    runner.define("echo out; echo err >&2; exit 3")
    run_id = runner.begin("hook", phase=Phase.END, job_id=77, profile="a b", file_count=5)
    receipt = runner.until_ended(run_id)
    (started,) = journal.find(MESSAGE_ID=records.RUN_STARTED.message_id, HOOKD_JOB_ID=77)
    (ended,) = journal.find(MESSAGE_ID=records.RUN_ENDED.message_id, HOOKD_JOB_ID=77)
    lines = journal.find(SYSLOG_IDENTIFIER="hook", HOOKD_JOB_ID=77)
    of_a_line = {"HOOKD_JOB_ID": "77", "HOOKD_RUN_ID": str(run_id), "HOOKD_HOOK": "hook"}
    shared: dict[str, Any] = of_a_line | {
        "HOOKD_EVENT": "false", "HOOKD_PHASE": "end", "HOOKD_ATTEMPT": "1", "HOOKD_PROFILE": "a_b",
        "HOOKD_USER": "ann@example.com",
        "HOOKD_CLIENT_IP": "192.0.2.7", "HOOKD_CLIENT_BUILD_NO": "563", "HOOKD_FILE_COUNT": "5",
        "HOOKD_BYTE_COUNT": "0",
    }  # fmt: skip
    for record in (started, ended):
        assert {key: str(record.get(key)) for key in shared} == shared
        assert int(record["OBJECT_PID"]) > 1
    head = {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"}
    for line in lines:
        own = {name: line[name] for name in line if not name.startswith("_")}
        assert own.keys() == head | of_a_line.keys() | {"HOOKD_STREAM"}
        assert {name: str(own[name]) for name in of_a_line} == of_a_line
    assert [(one["HOOKD_STREAM"], one["MESSAGE"]) for one in lines] in (
        [("stdout", "out"), ("stderr", "err")],
        [("stderr", "err"), ("stdout", "out")],
    )
    told = {
        name: None if value is None else str(value)
        for name, value in records.receipt_fields(receipt).items()
    }
    assert {n: None if ended.get(n) is None else str(ended[n]) for n in told} == told
    assert (started["PRIORITY"], ended["PRIORITY"]) == (6, 3)


@pytest.mark.parametrize("script", PRIORITIES)
def test_priorities(runner: Runner, script: str) -> None:
    journal = Records()
    runner.define(script, '[limits]\ntimeout = "300ms"\nkill_grace = "100ms"')
    job = 780 + list(PRIORITIES).index(script)  # another process may run the next case meanwhile
    runner.run("hook", job_id=job)
    (ended,) = journal.find(MESSAGE_ID=records.RUN_ENDED.message_id, HOOKD_JOB_ID=job)
    assert ended["PRIORITY"] == PRIORITIES[script]


def test_no_line_is_forged_and_no_secret_told(runner: Runner) -> None:
    journal = Records()
    runner.define(
        "printf 'a\\nMESSAGE=b\\033[2J\\377\\n'",
        f'[run]\nenvironment = {{ TOKEN = "{SECRET}" }}',
    )
    runner.run("hook", job_id=79, user="x\nPRIORITY=0\nMESSAGE=forged")
    found = journal.find(HOOKD_JOB_ID=79)
    assert [one["MESSAGE"] for one in found if one["SYSLOG_IDENTIFIER"] == "hook"] == [
        "a", "MESSAGE=b\\x1b[2J\\xff",
    ]  # fmt: skip
    told = [one["HOOKD_USER"] for one in found if "MESSAGE_ID" in one]
    assert told == ["x\nPRIORITY=0\nMESSAGE=forged"] * 2
    assert all("\n" not in one["MESSAGE"] and one["PRIORITY"] == 6 for one in found)
    assert SECRET not in str(journal.find())


def test_ten_thousand_lines_all_arrive_before_the_end(runner: Runner) -> None:
    journal = Records()
    runner.define("seq 10000")
    receipt = runner.run("hook", job_id=80)
    found = journal.find(HOOKD_JOB_ID=80)
    lines = [one["MESSAGE"] for one in found if one["SYSLOG_IDENTIFIER"] == "hook"]
    assert lines == [str(n) for n in range(1, 10001)]
    assert found[-1]["MESSAGE_ID"].hex == records.RUN_ENDED.message_id
    assert receipt.output_dropped == 0


SAID = {"kept": "left 1 process running", "ended": "ended 1 process that it had left running"}


@pytest.mark.parametrize("how", ["kept", "ended"])
def test_leftovers_are_named(runner: Runner, how: str) -> None:
    journal = Records()
    leftovers = "warn" if how == "kept" else "kill"
    runner.define(
        f"/bin/sleep 60 & echo $! >{runner.directory}/pid\n"
        'until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done',
        f'[run]\nleftovers = "{leftovers}"\n',
    )
    run_id = runner.begin("hook", job_id=81)
    receipt = runner.until_ended(run_id)
    pid = int((runner.directory / "pid").read_text())
    (record,) = journal.find(MESSAGE_ID=records.RUN_LEFTOVERS.message_id, HOOKD_RUN_ID=run_id)
    assert (receipt.result, receipt.leftovers, record["HOOKD_LEFTOVERS"]) == (
        Result.SUCCESS, 1, "1",
    )  # fmt: skip
    assert record["MESSAGE"].endswith(f": {SAID[how]}: {pid} (sleep, /bin/sleep)")
    assert record["PRIORITY"] == {"kept": records.WARNING, "ended": records.NOTICE}[how]
    if how == "kept":
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid))
