# SPDX-License-Identifier: LGPL-2.1-or-later
"""The example hooks that an administrator copies, run by a real daemon, twenty at a time."""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.daemon import Daemon

EXAMPLES = Path(__file__).parents[2] / "packaging" / "examples"
AT_ONCE = 20


def install(daemon: Daemon, name: str) -> None:
    """Copy a hook and its scripts, as their comments say, into the daemon's directory."""
    for script in EXAMPLES.iterdir():
        if script.is_file() and script.suffix == "":
            shutil.copyfile(script, daemon.directory / script.name)
            (daemon.directory / script.name).chmod(0o755)
    text = (EXAMPLES / "hooks.d" / f"{name}.toml").read_text()
    text = text.replace("/usr/local/libexec/hookd", str(daemon.directory))
    daemon.hook(name, text.replace("/var/local/hookd", str(daemon.directory)))


def many_jobs(daemon: Daemon) -> None:
    """Start and end jobs, all at the same time, and wait for their hooks."""

    def one(number: int) -> None:
        with daemon.client(60) as hookd:
            job = hookd.start_job(
                profile=f"profile {number}",
                user=f"user-{number}@example.com",
                client_ip=f"10.0.0.{number}",
                client_build_no="563",
                wait=True,
            )
            hookd.end_job(job.job_id, file_count=number, byte_count=2**40, wait=True)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, range(AT_ONCE)))


@pytest.fixture(scope="module")
def used(shared: Daemon) -> Daemon:
    """Return a daemon whose jobs all have run both example hooks."""
    install(shared, "append-arguments")
    install(shared, "start-or-complete")
    for program in ("job-started", "job-completed"):
        result = shared.directory / program
        result.write_text(f'#!/bin/sh\necho "$# $*" >>{result}.txt\n')
    shared.start()
    many_jobs(shared)
    return shared


def test_append_arguments_writes_whole_lines(used: Daemon) -> None:
    found = (used.directory / "jobs.txt").read_text().splitlines()
    without_ids = sorted(line.rstrip().rpartition(" ")[0] for line in found)
    assert without_ids == sorted(
        f"{event} 10.0.0.{n} 563 profile_{n} user-{n}@example.com {files} {size}"
        for n in range(AT_ONCE)
        for event, files, size in (("true", 0, 0), ("false", n, 2**40))
    )
    ids = {int(line.split()[-1]) for line in found}
    assert ids == set(range(1, AT_ONCE + 1))


def test_append_arguments_keeps_long_lines_apart(tmp_path: Path) -> None:
    words = ["x" * 50_000, "two\nlines", "last"]
    command = [str(EXAMPLES / "append-arguments"), *words]
    environment = {"PATH": "/usr/bin:/bin", "RESULT_FILE": str(tmp_path / "result")}
    running = [subprocess.Popen(command, env=environment) for _ in range(AT_ONCE)]
    assert [process.wait() for process in running] == [0] * AT_ONCE
    lines = (tmp_path / "result").read_text().splitlines()
    assert [line.rstrip() for line in lines] == [f"{words[0]} two lines last"] * AT_ONCE


def test_start_or_complete_runs_the_program_of_the_phase(used: Daemon) -> None:
    for program in ("job-started", "job-completed"):
        found = sorted((used.directory / f"{program}.txt").read_text().splitlines())
        assert found == sorted(
            f"3 10.0.0.{n} profile_{n} user-{n}@example.com" for n in range(AT_ONCE)
        )


def test_the_two_programs_say_what_they_are_for(tmp_path: Path) -> None:
    words = ["10.0.0.7", "Mail_Archive", "ann@example.com"]
    told = {"HOOKD_OUTCOME": "success", "HOOKD_BYTE_COUNT": "34567", "HOOKD_FILE_COUNT": "12"}
    for program, said in (
        ("job-started", "started: 10.0.0.7 backs up Mail_Archive for ann@example.com\n"),
        ("job-completed", r"completed: 10.0.0.7 .*: success, 34567 bytes in 12 files\n"),
    ):
        done = subprocess.run(
            [str(EXAMPLES / program), *words], capture_output=True, text=True, env=told
        )
        assert re.fullmatch(said, done.stdout)
