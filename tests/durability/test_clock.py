# SPDX-License-Identifier: LGPL-2.1-or-later
"""The wall clock jumps while hookd runs: what it measures and what it keeps does not."""

from __future__ import annotations

import sqlite3
import struct
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.durability.hooks import ended, let_go, noting, running, waiting
from tests.support.daemon import Daemon
from tests.support.database import count
from tests.support.eventually import eventually
from tests.support.wire import Wire

HOUR = 3600
DAY = 24 * HOUR
SOURCE = Path(__file__).parents[1] / "support" / "clock.c"
SETTINGS = '[daemon]\nlost_after = "30min"\nhistory = "90d"\n'
MOST = 60_000_000  # microseconds that anything here takes, and far less than a jump

Jump = Callable[[int], None]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what gives a process a wall clock of its own."""
    made = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl"], check=True)
    return made


@pytest.fixture
def jump(daemon: Daemon, library: Path) -> Jump:
    """Return what sets the clock of hookd and of its runner, by so many seconds.

    Not that of a launcher, whose environment is empty: the stamps of runs are its.
    """
    clock = daemon.directory / "clock"

    def jump(seconds: int) -> None:
        with clock.open("r+b") as file:
            file.write(struct.pack("l", seconds))

    clock.write_bytes(bytes(8))
    daemon.prefix = ["env", f"LD_PRELOAD={library}", f"CLOCK_FILE={clock}"]
    (daemon.directory / "hookd.toml").write_text(SETTINGS)
    return jump


def reload(wire: Wire) -> None:
    """Have hookd look at once for jobs that are lost and for history that may go."""
    wire.call("io.hookd.Manager.Reload")


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 91 * DAY])
def test_a_clock_that_jumps(daemon: Daemon, jump: Jump, seconds: int) -> None:
    retry = '[retry]\nattempts = 2\nbackoff = "200ms"\n'
    waiting(daemon, "slow", f'phases = ["start"]\n[limits]\ntimeout = "60s"\n{retry}', "exit 1")
    noting(daemon, "end", 'phases = ["end"]\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
        jump(seconds)
        let_go(daemon, "slow")
        first, second = ended(wire, 1, 2)
        assert (first["result"], second["result"]) == ("failed", "failed")
        assert 0 <= first["duration_usec"] < MOST
        assert 0 <= second["duration_usec"] < MOST
        reload(wire)
        wire.start()
        assert wire.job(1)["state"] == "running"
        wire.end(job_id=1, wait=True)
        job = wire.job(1)
        assert job["hooks"][-1]["result"] == "success"
        assert abs(job["ended_usec"] - job["started_usec"] - seconds * 1_000_000) < MOST
    database = daemon.directory / "state" / "hookd.db"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        ((duration,),) = db.execute("SELECT duration_usec FROM jobs WHERE job_id = 1")
    assert 0 <= duration < MOST


def test_a_clock_that_jumps_while_an_end_is_written(daemon: Daemon, jump: Jump) -> None:
    """The next attempt waits as long as was decided before the jump."""
    retry = '[retry]\nattempts = 2\nbackoff = "2s"\n'
    waiting(daemon, "slow", f'phases = ["start"]\n{retry}', "exit 1")
    daemon.start()
    database = daemon.directory / "state" / "hookd.db"
    with Wire(daemon.socket) as wire, closing(sqlite3.connect(database)) as db:
        wire.start()
        running(daemon)
        db.execute("BEGIN IMMEDIATE")  # nothing is written from now on
        let_go(daemon, "slow")
        eventually(lambda: wire.call("io.hookd.Manager.ListHooks")["hooks"][0]["failures"] == 1)
        jump(HOUR)
        db.rollback()
        first, second = ended(wire, 1, 2)
    waited = second["started_usec"] - first["started_usec"] - first["duration_usec"]
    assert 1_000_000 <= waited < MOST


def test_history_does_not_go_by_a_clock_that_jumps(daemon: Daemon, jump: Jump) -> None:
    database = daemon.directory / "state" / "hookd.db"
    daemon.start()
    with Wire(daemon.socket) as wire:
        for _ in range(3):
            wire.end(job_id=wire.start()["job_id"])
    assert daemon.stop() == 0
    with sqlite3.connect(database) as db:
        db.execute("UPDATE jobs SET boot_id = 'before' WHERE job_id < 3")
        db.execute("UPDATE jobs SET ended_usec = 0 WHERE job_id = 1")
    daemon.start()
    with Wire(daemon.socket) as wire:
        eventually(lambda: count(database, "jobs") == 2)
        jump(91 * DAY)
        for _ in range(2):  # the second finds what came of the first
            reload(wire)
        wire.end(job_id=wire.start()["job_id"])
        assert count(database, "jobs") == 3
    assert daemon.stop() == 0
    daemon.start()  # which believes the clock, but boot time more
    with Wire(daemon.socket) as wire:
        eventually(lambda: count(database, "jobs") == 2)
        assert [wire.job(job)["state"] for job in (3, 4)] == ["ended", "ended"]
