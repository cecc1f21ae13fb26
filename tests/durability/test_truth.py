# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each end of a start hook means for its job, and how the job ends then.

The two tables stand in docs/PROTOCOL.md and are run as they stand there: each line of the first
with each line of the second that follows from it, by a real daemon and real hooks.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hookd.system.records import KINDS
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Record, Records
from tests.support.wire import Wire

PAGE = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()
PRIORITIES = {"err": 3, "warning": 4, "notice": 5, "info": 6}
LAST_LINE = "the tape is full"
SCRIPTS = {
    "success": "exit 0",
    "failed": f"echo {LAST_LINE}; exit 1",
    "skipped": f"echo {LAST_LINE}; exit 75",
    "timeout": "sleep 60",
    "spawn-failed": "exit 0",  # removed once the configuration is loaded
}
KIND_OF = {
    "notify": 'kind = "notify"',
    "gate, deny": 'kind = "gate"\non_error = "deny"',
    "gate, allow": 'kind = "gate"\non_error = "allow"',
}

Line = dict[str, str]


def table(first_heading: str) -> list[Line]:
    """Return the lines of the page's table whose first column has this heading."""
    _, heading, rest = PAGE.partition(f"\n| {first_heading} |")
    lines = (heading + rest).partition("\n\n")[0].strip().splitlines()
    headings, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    return [dict(zip(headings, row, strict=True)) for row in rows]


STARTS = table("the hook")
ENDS = table("the job")
CASES = [(start, end) for start in STARTS for end in ENDS if end["the job"] == start["the job"]]


def hook_name(start: Line) -> str:
    """Return the name of the hook that a line of the first table is about."""
    return f"{start['the hook'].replace(', ', '-')}-{start['its run']}"


def case_name(start: Line, end: Line) -> str:
    """Return the profile of the one job that goes through these two lines."""
    return f"{start['the hook']}, {start['its run']}, {end['its end']}"


def test_the_tables_are_whole() -> None:
    expected = {
        f"{kind}, {result}, {outcome}"
        for kind in KIND_OF
        for result in SCRIPTS
        for outcome in ("success", "error", "canceled", "lost")
    }
    assert len(CASES) == 60
    assert {case_name(*case) for case in CASES} == expected


class Seen:
    """What became of the job of each case: the answers, the books, the side file, the journal."""

    def __init__(self, daemon: Daemon, records: Records) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, str] = {}
        wires = {case_name(*case): Wire(daemon.socket) for case in CASES}
        for profile, wire in wires.items():
            asked = {"profile": profile, "user": "u", "client_ip": "::1", "client_build_no": ""}
            wire.send("StartJob", asked | {"tie": profile.endswith("lost")})
        for profile, wire in wires.items():
            self.answers[profile] = wire.receive()["parameters"]
            self.ends[profile] = self._end(wire, profile)
            wire.socket.close()
        with Wire(daemon.socket) as wire:
            eventually(lambda: not (wire.status()["open_jobs"] or unfinished(wire)), 30)
            self.jobs = {p: wire.job(answer["job_id"]) for p, answer in self.answers.items()}
        self.told = (daemon.directory / "side").read_text().splitlines()
        self._records = records.find(SYSLOG_IDENTIFIER="hookd")

    def _end(self, wire: Wire, profile: str) -> str:
        outcome = profile.rpartition(", ")[2]
        if outcome == "lost":
            return "nobody asks"
        asked = {"job_id": self.answers[profile]["job_id"], "outcome": outcome}
        wire.send("EndJob", asked | {"file_count": 0, "byte_count": 0})
        return str(wire.receive().get("error", "done")).removeprefix("io.hookd.Jobs.")

    def records(self, job: dict[str, Any], *kinds: str, hook: str = "") -> list[Record]:
        """Return the records of these kinds that a job, or a run of its hook, has."""
        names = {KINDS[kind].message_id for kind in kinds}
        return [
            record
            for record in self._records
            if record["MESSAGE_ID"].hex in names
            and int(record.get("HOOKD_JOB_ID", 0)) == job["job_id"]
            and record.get("HOOKD_HOOK", "") in ("", hook or record.get("HOOKD_HOOK", ""))
        ]


def unfinished(wire: Wire) -> int:
    """Return how many runs have not ended."""
    status = wire.status()
    return int(status["running"] + status["waiting"])


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    """Run every case in one daemon, all of them at once."""
    directory = Path(tempfile.mkdtemp(prefix="hookd-"))
    daemon, records = Daemon(directory), Records()
    for line in STARTS:
        name = hook_name(line)
        script = daemon.script(name, SCRIPTS[line["its run"]] + "\n")
        limits = '[limits]\ntimeout = "300ms"\n' if line["its run"] == "timeout" else ""
        daemon.hook(
            name,
            f'command = "{script}"\nphases = ["start"]\n{KIND_OF[line["the hook"]]}\n'
            f'[match]\nprofile = ["{line["the hook"]}, {line["its run"]}, *"]\n{limits}',
        )
    daemon.hook("other", 'command = "/bin/true"\nphases = ["start"]\norder = 90\n')
    told = daemon.script("told", f'echo "$1 $HOOKD_OUTCOME" >>{directory}/side\n')
    daemon.hook("told", f'command = "{told} $JOB_ID"\nphases = ["end"]\n')
    daemon.start()
    for script in directory.glob("*-spawn-failed"):
        script.unlink()
    yield Seen(daemon, records)
    assert daemon.stop() == 0, daemon.said()
    shutil.rmtree(directory)


@pytest.mark.parametrize(("start", "end"), CASES, ids=[case_name(*case) for case in CASES])
def test_a_line_of_each_table(seen: Seen, start: Line, end: Line) -> None:
    profile = case_name(start, end)
    answer, job = seen.answers[profile], seen.jobs[profile]
    runs = {run["hook"]: run for run in job["hooks"]}
    name = hook_name(start)

    assert runs[name]["result"] == start["its run"]
    assert said(seen.records(job, "run-ended", hook=name)) == [start["its record"]]
    assert ("allowed" if answer["allowed"] else "refused") == start["StartJob says"]
    assert answer["reason"] == job["reason"]
    wanted = start["the reason"].replace("its last line", LAST_LINE)
    assert wanted in (job["reason"] or "")
    assert bool(wanted) is (job["reason"] is not None)
    assert runs["other"]["result"].replace("success", "run") == start["other start hooks"]
    assert said(seen.records(job, "job-refused")) == listed(start["the job's record"])

    assert seen.ends[profile] == end["EndJob says"]
    told = [line.partition(" ")[2] for line in seen.told if line.split()[0] == str(job["job_id"])]
    assert ("run, told " + " ".join(told) if told else "none") == end["end hooks"]
    assert ("told" in runs) is bool(told)
    assert (job["state"], job["outcome"] or "") == (end["the state"], end["the outcome"])
    found = said(seen.records(job, "job-ended", "job-lost"))
    assert found == listed(end["the end's record"])


def listed(cell: str) -> list[str]:
    """Return a cell's record, where it names one."""
    return [cell] if cell else []


def said(records: list[Record]) -> list[str]:
    """Return records as the tables name them: `run-ended, err`."""
    kinds = {kind.message_id: kind.name for kind in KINDS.values()}
    names = {number: name for name, number in PRIORITIES.items()}
    return [f"{kinds[r['MESSAGE_ID'].hex]}, {names[r['PRIORITY']]}" for r in records]
