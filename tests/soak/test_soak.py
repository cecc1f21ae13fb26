# SPDX-License-Identifier: LGPL-2.1-or-later
"""Good and hostile load for MINUTES (default: 3): hookd holds no more afterwards than before.

Before means after a fifth of the time under the same load, at rest: what grows once has grown.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import psutil
import pytest

from tests.crash.traffic import Traffic
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import JOB, Wire

MINUTES = float(os.environ.get("MINUTES", "3"))
TREE = Path(__file__).parents[2]
CLIENTS = 8
WEAPONS = (
    "rubbish", "hang_up", "descriptors", "one_byte_over", "half_open", "only_ends", "no_end",
    "all_at_once", "large_replies", "subscribers",
)  # fmt: skip
MOST_MEMORY = 8 * 1024 * 1024  # bytes that a process may be larger: what a heap leaves unused
MOST_EACH_JOB = 4096  # bytes of the database: such a job with its events and six runs

pytestmark = [pytest.mark.soak, pytest.mark.timeout(MINUTES * 60 + 180)]


@dataclass(frozen=True)
class Held:
    """What a process holds; `processes` are those below it."""

    memory: int
    descriptors: int
    threads: int
    processes: int

    @classmethod
    def by(cls, pid: int) -> Held:
        """Look at a process; what is not shown to who we are counts as 0."""
        process = psutil.Process(pid)
        descriptors = process.num_fds() if os.geteuid() == 0 else 0
        children = len(process.children(recursive=True))
        return cls(process.memory_info().rss, descriptors, process.num_threads(), children)


class Soak:
    """A server and a runner under load, and looks at them at rest."""

    def __init__(self, daemon: Daemon, runner: RunnerUnit) -> None:
        self.daemon = daemon
        self.runner = runner
        self.weapons: Iterator[str] = itertools.cycle(WEAPONS)
        self.attacks = 0

    def load(self, seconds: float) -> None:
        """Let clients work and weapons loose, one after the other, for so long."""
        until = time.monotonic() + seconds
        every = self.attacks + len(WEAPONS)
        traffic = Traffic(self.daemon.socket, CLIENTS, seed=self.attacks)
        while time.monotonic() < until or self.attacks < every:
            weapon = [sys.executable, "-m", "tests.attack.weapons", next(self.weapons)]
            subprocess.run([*weapon, str(self.daemon.socket)], cwd=TREE, check=True, timeout=60)
            self.attacks += 1
        traffic.finish()
        assert not traffic.errors, traffic.errors[:3]

    def rest(self) -> tuple[Held, Held, int, int]:
        """Wait until all is done; return what both hold, the database's bytes, and the jobs."""
        assert self.daemon.process is not None
        assert self.runner.process is not None
        with Wire(self.daemon.socket) as wire:
            eventually(lambda: wire.status()["running"] + wire.status()["waiting"] == 0, 60)
            eventually(lambda: wire.status()["connections"] == 1, 60)
            held = Held.by(self.daemon.process.pid), Held.by(self.runner.process.pid)
            jobs = wire.start(**JOB)["job_id"]  # whose hooks hold something, too
        size = sum(file.stat().st_size for file in (self.daemon.directory / "state").iterdir())
        return (*held, size, jobs)


@pytest.fixture
def soak(daemon: Daemon, runner: RunnerUnit) -> Soak:
    """Return a started server and runner with hooks that succeed, fail, print and take time."""
    for name, script in (
        ("true", "exit 0"),
        ("fails", "echo because; exit 3"),
        ("prints", "head -c 20000 /dev/zero | tr '\\0' x"),
    ):
        daemon.hook(name, f'command = "{daemon.script(name, script)}"\n')
    nap = daemon.script("nap", "exec sleep 0.3")
    daemon.hook("nap", f'command = "{nap}"\n[match]\nprofile = ["nap"]\n')
    runner.start()
    daemon.start(*runner.arguments)
    return Soak(daemon, runner)


def journal_fields() -> set[str]:
    """Return the names of the fields that the journal has: none is for clients to choose."""
    subprocess.run(["journalctl", "--sync"], check=True)
    told = subprocess.run(
        ["journalctl", "--fields"], check=True, stdout=subprocess.PIPE, text=True
    )
    return set(told.stdout.split())


def test_nothing_grows(soak: Soak, capsys: pytest.CaptureFixture[str]) -> None:
    soak.load(MINUTES * 60 / 5)
    *before, size, jobs = soak.rest()
    names = journal_fields()
    soak.load(MINUTES * 60 * 4 / 5)
    *after, size_after, jobs_after = soak.rest()
    rows = [("", "before", "after")]
    for process, old, new in zip(("server", "runner"), before, after, strict=True):
        for field, was, is_now in zip(fields(Held), astuple(old), astuple(new), strict=True):
            rows.append((f"{process}: {field.name}", f"{was:,}", f"{is_now:,}"))
    rows.append(("database, bytes", f"{size:,}", f"{size_after:,}"))
    rows.append(("jobs", f"{jobs:,}", f"{jobs_after:,}"))
    rows.append(("journal: names of fields", f"{len(names):,}", f"{len(journal_fields()):,}"))
    with capsys.disabled():
        print(f"\n{MINUTES:g} minutes, {soak.attacks} attacks")
        for row in rows:
            print(f"  {row[0]:26}{row[1]:>14}{row[2]:>14}")
    for old, new in zip(before, after, strict=True):
        assert new.memory - old.memory <= MOST_MEMORY
        assert all(now <= was for was, now in zip(astuple(old)[1:], astuple(new)[1:], strict=True))
    assert size_after - size <= MOST_EACH_JOB * (jobs_after - jobs)
    assert journal_fields() == names
