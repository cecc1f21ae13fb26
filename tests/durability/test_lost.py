# SPDX-License-Identifier: LGPL-2.1-or-later
"""Jobs that nobody ends get exactly one end, outcome lost."""

from __future__ import annotations

import os
from typing import Any

import pytest

from hookd.system.records import JOB_LOST
from tests.durability.hooks import ended, noted, noting, reload
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.wire import END, Wire

DAY = 86400

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="other clocks and boots want root")


def lost_once(daemon: Daemon, wire: Wire, records: Records, job: int = 1) -> dict[str, Any]:
    """Wait for the job's end, and see that it is the only one."""
    found = eventually(lambda: (j := wire.job(job))["outcome"] and j, within=20)
    assert (found["state"], found["outcome"]) == ("ended", "lost")
    ended(wire, job, runs=1)
    assert noted(daemon).count(f"{job} end note 1") == 1
    assert len(records.find(MESSAGE_ID=JOB_LOST.message_id, HOOKD_JOB_ID=job)) == 1
    name, values = wire.error("EndJob", END | {"job_id": job})
    assert (name, values["outcome"]) == ("io.hookd.Jobs.JobAlreadyEnded", "lost")
    return found


def at_end(daemon: Daemon, lost_after: str = "24h") -> None:
    (daemon.directory / "hookd.toml").write_text(f'[daemon]\nlost_after = "{lost_after}"\n')
    noting(daemon, "note", 'phases = ["end"]\n[match]\noutcome = ["lost"]\n')


def test_a_job_without_an_end_is_lost_in_time(common: Daemon, records: Records) -> None:
    at_end(common, "1s")
    reload(common)
    with Wire(common.socket) as wire:
        job = wire.start()["job_id"]
        other = wire.start()["job_id"]
        wire.end(job_id=other)
        found = lost_once(common, wire, records, job)
        assert 1_000_000 <= found["ended_usec"] - found["started_usec"] < 8_000_000
        assert wire.job(other)["outcome"] == "unknown"


def test_a_job_grows_old_while_hookd_is_away(daemon: Daemon, records: Records) -> None:
    at_end(daemon, "1s")
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
    for _ in range(3):  # however often it is killed meanwhile
        daemon.kill()
        daemon.start()
    with Wire(daemon.socket) as wire:
        lost_once(daemon, wire, records)


def test_a_server_that_starts_anew_loses_the_jobs_of_before(
    daemon: Daemon, records: Records
) -> None:
    at_end(daemon)
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert wire.call("ServerStarted", {"instance": "a"})["lost_jobs"] == []
        wire.start()
        wire.end(job_id=wire.start()["job_id"])
        assert wire.call("ServerStarted", {"instance": "a"})["lost_jobs"] == []
    daemon.kill()
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert wire.call("ServerStarted", {"instance": "b"})["lost_jobs"] == [1]
        assert wire.call("ServerStarted", {"instance": "b"})["lost_jobs"] == []
        lost_once(daemon, wire, records)
        assert wire.start()["job_id"] == 3


def test_a_tied_job_is_lost_with_its_connection(common: Daemon, records: Records) -> None:
    at_end(common)
    reload(common)
    with Wire(common.socket) as wire:
        with Wire(common.socket) as tied:
            job = tied.start(tie=True)["job_id"]
            over = tied.start(tie=True)["job_id"]
            tied.end(job_id=over, outcome="success")
            other = wire.start()["job_id"]
        lost_once(common, wire, records, job)
        assert [wire.job(one)["outcome"] for one in (over, other)] == ["success", None]
        wire.end(job_id=other)  # or another test's `lost_after` would lose it


def test_a_tied_job_is_lost_when_hookd_ends(daemon: Daemon, records: Records) -> None:
    at_end(daemon)
    daemon.start()
    for stop in (Daemon.kill, Daemon.stop):
        with Wire(daemon.socket) as wire:
            tied = wire.start(tie=True)["job_id"]
            other = wire.start()["job_id"]
            stop(daemon)
        daemon.start()
        with Wire(daemon.socket) as wire:
            lost_once(daemon, wire, records, tied)
            assert wire.job(other)["outcome"] is None


@as_root
def test_a_clock_that_went_on_without_us(daemon: Daemon, records: Records) -> None:
    at_end(daemon)
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
    daemon.stop()
    daemon.prefix = ["unshare", "--time", "--boottime", str(DAY + 60)]  # as after a suspend
    daemon.start()
    with Wire(daemon.socket) as wire:
        lost_once(daemon, wire, records)


@as_root
@pytest.mark.parametrize("job_ids", ["persistent", "per-boot"])
def test_a_job_of_an_earlier_boot(daemon: Daemon, records: Records, job_ids: str) -> None:
    at_end(daemon, "1s")
    with (daemon.directory / "hookd.toml").open("a") as config:
        config.write(f'job_ids = "{job_ids}"\n')
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert [wire.start()["job_id"] for _ in range(3)] == [1, 2, 3]
        for job in (2, 3):
            wire.end(job_id=job, outcome="success")
        assert daemon.stop() == 0
    other_boot = daemon.directory / "boot_id"
    other_boot.write_text("00000000-0000-4000-8000-000000000000\n")
    mount = f'mount --bind {other_boot} /proc/sys/kernel/random/boot_id && exec "$@"'
    daemon.prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"]
    daemon.start()
    with Wire(daemon.socket) as wire:
        lost_once(daemon, wire, records)
        assert wire.start()["job_id"] == (4 if job_ids == "persistent" else 1)
