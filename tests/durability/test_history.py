# SPDX-License-Identifier: LGPL-2.1-or-later
"""Old history goes, but not what is still at work."""

from __future__ import annotations

import sqlite3

from tests.durability.hooks import let_go, running, waiting
from tests.support.daemon import Daemon
from tests.support.database import count
from tests.support.eventually import eventually
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import Wire


def test_a_job_whose_hooks_still_run_is_not_pruned(daemon: Daemon, runner: RunnerUnit) -> None:
    waiting(daemon, "slow", 'phases = ["start"]\n')
    runner.start()
    daemon.start(*runner.arguments)
    database = daemon.directory / "state" / "hookd.db"
    with Wire(daemon.socket) as wire:
        for _ in range(2):
            wire.end(job_id=wire.start()["job_id"])
        running(daemon, 2)
    daemon.kill()
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE jobs SET ended_usec = 1, boot_id = ''")
        connection.execute("UPDATE runs SET state = 'ended', result = 'success' WHERE job = 1")
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        eventually(lambda: count(database, "jobs") == 1)
        assert wire.job(2)["hooks"][0]["hook"] == "slow"
        let_go(daemon, "slow")
