# SPDX-License-Identifier: LGPL-2.1-or-later
"""An older copy of the database is put back while the runner's hooks go on."""

from __future__ import annotations

import shutil

import pytest

from hookd.system.records import RUN_INTERRUPTED, STORAGE_DAMAGED, STORAGE_LOST, WORK_RESTORED
from tests.durability.hooks import ended, noted, running
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import Wire


def waits_for_its_job(daemon: Daemon, profile: str) -> None:
    """Make a hook of this profile, one at a time, that ends when `go-JOB` is there."""
    place = daemon.directory
    (place / "side").touch()
    script = daemon.script(
        profile,
        f'echo "$HOOKD_RUN_ID" >>{place}/side\n'
        f"until [ -e {place}/go-$HOOKD_JOB_ID ]; do sleep 0.02; done\n",
    )
    options = f'phases = ["start"]\n[match]\nprofile = ["{profile}"]\n[run]\nmax_running = 1\n'
    daemon.hook(profile, f'command = "{script}"\n{options}')


def test_an_older_copy_of_the_database_alone_is_said(daemon: Daemon, records: Records) -> None:
    database, copy = daemon.directory / "state" / "hookd.db", daemon.directory / "copy"
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
    assert daemon.stop() == 0
    shutil.copy(database, copy)
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert [wire.start()["job_id"] for _ in range(3)] == [2, 3, 4]
    assert daemon.stop() == 0
    copy.replace(database)
    daemon.start()
    lost = "IDs up to job 4 and run 0 were given, it knows 1 and 0"
    with Wire(daemon.socket) as wire:
        assert wire.start()["job_id"] == 5
        assert lost in wire.status()["notes"][0]
    (said,) = records.find(MESSAGE_ID=STORAGE_LOST.message_id)
    assert said["MESSAGE"].startswith("events are lost: ")
    assert lost in said["MESSAGE"]


def test_a_database_that_is_damaged_is_said(daemon: Daemon, records: Records) -> None:
    database = daemon.directory / "state" / "hookd.db"
    daemon.start()
    with Wire(daemon.socket) as wire:
        for _ in range(20):
            wire.start(profile="x" * 10_000)
    assert daemon.stop() == 0
    content = bytearray(database.read_bytes())
    at = content.index(b"x" * 2000)  # a page of a text that is longer than a page: its successor
    content[at - at % 4096 : at - at % 4096 + 4] = (2**31).to_bytes(4, "big")
    database.write_bytes(content)
    daemon.start()
    with Wire(daemon.socket) as wire:
        eventually(lambda: any("is damaged" in text for text in wire.status()["problems"]))
    assert records.find(MESSAGE_ID=STORAGE_DAMAGED.message_id)


@pytest.mark.parametrize("finished", [False, True])
def test_books_that_are_older_than_what_the_runner_does(
    daemon: Daemon, runner: RunnerUnit, records: Records, finished: bool
) -> None:
    """The books say that run 2 waits and know no run 3; the runner has, or had, them both."""
    state, copy = daemon.directory / "state", daemon.directory / "copy"
    waits_for_its_job(daemon, "a")
    waits_for_its_job(daemon, "b")
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        wire.start(profile="a")
        wire.start(profile="a")
        running(daemon)
    assert daemon.stop() == 0
    shutil.copytree(state, copy)
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        (daemon.directory / "go-1").touch()
        wire.start(profile="b")
        eventually(lambda: sorted(noted(daemon)) == ["1", "2", "3"])
    assert daemon.stop() == 0
    shutil.rmtree(state)
    copy.rename(state)
    if finished:
        (daemon.directory / "go-2").touch()
        (daemon.directory / "go-3").touch()
        eventually(lambda: len(records.find(HOOKD_RESULT="success")) == 3)

    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        (cut_short,) = ended(wire, 2, runs=1)
        assert (cut_short["result"], cut_short["run_id"]) == ("interrupted", 2)
        assert "older" in cut_short["reason"]
        (daemon.directory / "go-3").touch()
        assert wire.start(profile="b")["hooks"][0]["run_id"] > 3
        (new,) = ended(wire, 3, runs=1)
        assert new["result"] == "success"
        assert wire.status()["healthy"]
    assert noted(daemon).count("2") == noted(daemon).count("3") == 1
    assert len(records.find(MESSAGE_ID=RUN_INTERRUPTED.message_id)) == 1
    told = [r["MESSAGE"] for r in records.find(MESSAGE_ID=WORK_RESTORED.message_id)]
    strange = "the runner has runs that the database does not have: [3]"
    assert told.count(strange) == (0 if finished else 1)
    (daemon.directory / "go-2").touch()
