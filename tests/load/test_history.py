# SPDX-License-Identifier: LGPL-2.1-or-later
"""Old history goes, in steps that hold up nobody; what is open stays."""

from __future__ import annotations

import sqlite3
import statistics
import time
from pathlib import Path

import pytest

from tests.durability.hooks import noting, waiting
from tests.support.daemon import Daemon
from tests.support.database import count
from tests.support.eventually import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.load

OLD_JOBS = 5000
COPY = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
INSERT INTO {table} ({columns}) SELECT {values} FROM {table}, n WHERE {one}
"""


def make_history(database: Path) -> None:
    """Copy job 1, its events and its run, so that it happened many times, a year ago."""
    connection = sqlite3.connect(database)
    for table, key, other in (
        ("jobs", "key", {"key": "key + i + 10", "job_id": "job_id + i + 10"}),
        ("events", "job", {"seq": "NULL", "job": "job + i + 10", "request_id": "NULL"}),
        ("runs", "job", {"run_id": "NULL", "job": "job + i + 10"}),
    ):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        connection.execute(
            COPY.format(
                count=OLD_JOBS,
                table=table,
                columns=", ".join(f'"{c}"' for c in columns),
                values=", ".join(other.get(c, f'"{c}"') for c in columns),
                one=f"{key} = 1",
            )
        )
    connection.execute(
        "UPDATE jobs SET ended_usec = ended_usec - 31536000000000, boot_id = '' WHERE key <> 2"
    )
    connection.commit()
    connection.close()


def test_history_is_pruned_while_all_is_answered(daemon: Daemon) -> None:
    noting(daemon, "note", 'phases = ["end"]\n')
    waiting(daemon, "slow", 'phases = ["start"]\n[match]\nprofile = ["slow"]\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        for _ in range(2):
            wire.end(job_id=wire.start(profile="fast")["job_id"], wait=True)
        wire.start(profile="fast")  # an open job
    assert daemon.stop() == 0
    database = daemon.directory / "state" / "hookd.db"
    make_history(database)
    assert count(database, "jobs") == OLD_JOBS + 3
    daemon.start()
    seconds = []
    with Wire(daemon.socket) as wire:
        while (left := count(database, "jobs")) > 3:
            before = time.perf_counter()
            wire.end(job_id=wire.start(profile="fast")["job_id"])
            seconds.append((time.perf_counter() - before) / 2)
            if left < 2 * len(seconds) + 10:
                break
        assert statistics.median(seconds) < 0.05
        assert max(seconds) < 1
        eventually(lambda: count(database, "jobs") == 2 + len(seconds), within=30)
        assert [wire.job(job)["state"] for job in (2, 3)] == ["ended", "running"]
        assert wire.error("io.hookd.Jobs.GetJob", {"job_id": 1})[0] == "io.hookd.Jobs.NoSuchJob"
        assert wire.start(profile="fast")["job_id"] > OLD_JOBS + 11
    orphans = "SELECT count(*) FROM {} WHERE job NOT IN (SELECT key FROM jobs)"
    with sqlite3.connect(database) as connection:
        for table in ("runs", "events"):
            assert connection.execute(orphans.format(table)).fetchone() == (0,)
