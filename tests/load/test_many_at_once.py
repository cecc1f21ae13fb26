# SPDX-License-Identifier: LGPL-2.1-or-later
"""A thousand jobs from fifty connections at once: each has its ID, its runs, its records."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hookd.system.records import RUN_ENDED, RUN_STARTED
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.wire import Wire

JOBS, CONNECTIONS = 1000, 50

pytestmark = pytest.mark.load


def start_some(path: Path, count: int) -> list[int]:
    with Wire(path) as wire:
        return [wire.start()["job_id"] for _ in range(count)]


def end_some(path: Path, jobs: list[int]) -> list[int]:
    with Wire(path) as wire:
        return [wire.end(job_id=job)["job_id"] for job in jobs]


def idle(path: Path) -> bool:
    with Wire(path) as wire:
        status = wire.status()
    return bool(status["running"] == status["waiting"] == 0)


def test_a_thousand_jobs_from_fifty_connections(daemon: Daemon, records: Records) -> None:
    daemon.hook("nothing", 'command = "/bin/true"')
    daemon.start()
    each = JOBS // CONNECTIONS
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        batches = list(pool.map(lambda _: start_some(daemon.socket, each), range(CONNECTIONS)))
        assert sorted(job for batch in batches for job in batch) == list(range(1, JOBS + 1))
        assert all(batch == sorted(batch) for batch in batches)
        ended = list(pool.map(lambda batch: end_some(daemon.socket, batch), batches))
        assert ended == batches
    eventually(lambda: idle(daemon.socket), within=60)
    for phase in ("start", "end"):
        for kind in (RUN_STARTED, RUN_ENDED):
            found = records.find(MESSAGE_ID=kind.message_id, HOOKD_PHASE=phase)
            assert sorted(int(r["HOOKD_JOB_ID"]) for r in found) == list(range(1, JOBS + 1))
    results = {r["HOOKD_RESULT"] for r in records.find(MESSAGE_ID=RUN_ENDED.message_id)}
    assert results == {"success"}
