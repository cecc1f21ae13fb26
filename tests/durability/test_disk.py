# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults of the disk: said with the reason, nothing half done, and over when the disk is well."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hookd.system.records import RUN_ENDED, STORAGE_CREATED, STORAGE_FAILED, STORAGE_RECOVERED
from tests.cli.hookctl import called
from tests.durability.hooks import ended, let_go, noted, noting, running, waiting
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.wire import END, JOB, Wire

START = 'phases = ["start"]\n'
LARGE = JOB | {"profile": "x" * 100_000, "user": "u" * 100_000}
STORAGE_FAILURE = "io.hookd.Jobs.StorageFailure"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk wants root")


def failure(wire: Wire, method: str = "StartJob", parameters: Any = JOB) -> str:
    """Return the reason of the StorageFailure that a call ends with."""
    name, values = wire.error(method, parameters)
    assert name == STORAGE_FAILURE
    reason: str = values["message"]
    return reason


def recovered(daemon: Daemon) -> None:
    """Wait until hookd is well again, having been asked for nothing but how it is."""
    with Wire(daemon.socket) as wire:
        eventually(lambda: wire.status()["healthy"], within=20)


@pytest.fixture
def database(daemon: Daemon) -> Path:
    """Return where the database is."""
    return daemon.directory / "state" / "hookd.db"


@pytest.fixture
def small_disk(daemon: Daemon) -> Iterator[Path]:
    """Have hookd keep its state on a disk of 8 MiB, and return the path to it once it runs."""
    state = daemon.directory / "state"
    state.mkdir(mode=0o700)
    mount = f'mount -t tmpfs -o size=8M,mode=0700 hookd-test {state} && exec "$@"'
    daemon.prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"]
    daemon.start()
    assert daemon.process is not None
    yield Path(f"/proc/{daemon.process.pid}/root{state}")
    assert daemon.stop() == 0


def fill(disk: Path) -> Path:
    """Take all the room of a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


@as_root
def test_a_full_disk(daemon: Daemon, small_disk: Path, records: Records) -> None:
    waiting(daemon, "slow", START, "exit 3")
    with Wire(daemon.socket) as wire:
        wire.call("io.hookd.Manager.Reload")
        wire.start()
        running(daemon)
        filler = fill(small_disk)
        assert "full" in eventually(lambda: _reason_of(wire, "StartJob", LARGE))
        assert "full" in eventually(lambda: _reason_of(wire, "StartJob", JOB))
        assert "full" in failure(wire, "EndJob", END | {"job_id": 1, "message": "x" * 100_000})
        assert wire.status()["problems"][0].startswith("storage failed: ")
        let_go(daemon, "slow")
        eventually(lambda: records.find(MESSAGE_ID=RUN_ENDED.message_id, HOOKD_JOB_ID=1))
        filler.unlink()
        recovered(daemon)
        assert ended(wire, 1, runs=1)[0]["exit_status"] == 3
        assert wire.job(1)["state"] == "running"
        after = wire.start(wait=True)
        assert after["hooks"][0]["exit_status"] == 3
    assert len(noted(daemon)) == len(set(noted(daemon)))
    for kind in (STORAGE_FAILED, STORAGE_RECOVERED):
        assert len(records.find(MESSAGE_ID=kind.message_id)) == 1


def test_a_disk_with_room_for_small_events_alone_is_not_well(
    daemon: Daemon, records: Records
) -> None:
    """What a small write says of the disk is not believed: status does not flap."""
    daemon.start()
    assert daemon.process is not None
    with Wire(daemon.socket) as wire:
        limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (700_000, -1))
        eventually(lambda: _reason_of(wire, "StartJob", LARGE))
        for _ in range(3):
            assert wire.start()["allowed"]  # what there is room for is taken
            until = time.monotonic() + 1.2  # hookd looks once a second
            while time.monotonic() < until:
                assert wire.status()["healthy"] is False
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, limits)
        recovered(daemon)
        assert wire.call("StartJob", LARGE)["allowed"]
    for kind in (STORAGE_FAILED, STORAGE_RECOVERED):
        assert len(records.find(MESSAGE_ID=kind.message_id)) == 1


def _reason_of(wire: Wire, method: str, parameters: Any) -> str:
    """Return why a call fails; "" while it still finds room: a full disk has some for a moment."""
    wire.send(method, parameters)
    reply = wire.receive()
    return str(reply["parameters"]["message"]) if reply.get("error") == STORAGE_FAILURE else ""


def test_errors_of_the_disk(daemon: Daemon, records: Records) -> None:
    """No file of the server may grow: the kernel refuses every write, as a broken disk does."""
    waiting(daemon, "slow", START, "exit 3")
    daemon.start()
    assert daemon.process is not None
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
        assert wire.job(1)["state"] == "running"
        limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (0, -1))
        assert "disk I/O error" in failure(wire)
        assert "disk I/O error" in failure(wire, "EndJob", END | {"job_id": 1})
        assert wire.job(1)["state"] == "running"  # what can be read is told
        shows_no_number_of_open_jobs(daemon, wire)
        let_go(daemon, "slow")
        eventually(lambda: records.find(MESSAGE_ID=RUN_ENDED.message_id, HOOKD_JOB_ID=1))
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, limits)
        recovered(daemon)
        assert ended(wire, 1, runs=1)[0]["exit_status"] == 3
        assert wire.start()["job_id"] == 2
        assert wire.end(job_id=1)["duplicate"] is False


def shows_no_number_of_open_jobs(daemon: Daemon, wire: Wire) -> None:
    """Fail where a number that is not known is shown as if it were."""
    assert wire.status()["open_jobs"] is None
    at = ("--socket", daemon.socket)
    assert "hookd_jobs_open" not in called(*at, "metrics").stdout
    assert "  jobs     unknown\n" in called(*at, "status").stdout


@as_root
def test_a_disk_that_is_read_only_at_the_start(daemon: Daemon) -> None:
    noting(daemon, "note", START)
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start(wait=True)
    assert daemon.stop() == 0
    state = daemon.directory / "state"
    mount = f'mount --bind {state} {state} && mount -o remount,bind,ro {state} && exec "$@"'
    daemon.prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"]
    daemon.start()
    assert daemon.process is not None
    with Wire(daemon.socket) as wire:
        assert "Read-only file system" in failure(wire)
        inside = ["nsenter", f"--target={daemon.process.pid}", "--mount"]
        remount = ["mount", "-o", "remount,bind,rw", str(state)]
        assert os.spawnvp(os.P_WAIT, inside[0], [*inside, *remount]) == 0
        recovered(daemon)
        assert wire.start(wait=True)["job_id"] == 2
    assert noted(daemon) == ["1 start note 1", "2 start note 1"]


def damage(database: Path) -> None:
    database.write_bytes(b"no database at all" * 1000)


def make_newer(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def make_foreign(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.executescript("PRAGMA application_id = 1; PRAGMA journal_mode = DELETE")
    connection.close()


def give_away(database: Path) -> None:
    os.chown(database.parent, 12345, -1)


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "damaged": (damage, "not a database"),
    "newer": (make_newer, "install the newer hookd"),
    "another program's": (make_foreign, "not hookd's"),
    "missing": (Path.unlink, "is gone: restore it"),
    "empty": (lambda database: database.write_bytes(b""), "is empty"),
    "of another owner": (give_away, "belongs to uid 12345"),
}


def test_that_a_database_is_new_is_said_once(
    daemon: Daemon, database: Path, records: Records
) -> None:
    for _ in range(2):
        daemon.start()
        assert daemon.stop() == 0
    (said,) = records.find(MESSAGE_ID=STORAGE_CREATED.message_id)
    assert said["MESSAGE"] == f"a new database was made: {database}"


@pytest.fixture(scope="module")
def left(shared: Daemon) -> Path:
    """Return what a hookd has left in its state directory that had one job, and stopped."""
    shared.start()
    with Wire(shared.socket) as wire:
        wire.start(request_id="r")
    assert shared.stop() == 0
    return shared.directory / "state"


@pytest.mark.parametrize("case", CASES)
def test_a_database_that_is_not_what_it_was(
    daemon: Daemon, database: Path, left: Path, case: str
) -> None:
    """hookd answers, with the reason, makes no new one, and goes on when the old one is back."""
    if case == "of another owner" and os.geteuid() != 0:
        pytest.skip("giving a directory away wants root")
    noting(daemon, "note", START)
    shutil.copytree(left, database.parent)
    kept = daemon.directory / "kept"
    shutil.copy(database, kept)
    spoil, reason = CASES[case]
    spoil(database)
    spoilt = database.read_bytes() if database.exists() else None
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert reason in failure(wire)
        assert reason in "; ".join(wire.status()["problems"])
        assert (database.read_bytes() if database.exists() else None) == spoilt
        os.chown(database.parent, os.geteuid(), -1)
        kept.replace(database)
        recovered(daemon)
        assert wire.start(request_id="r")["duplicate"] is True
        assert wire.start(wait=True)["job_id"] == 2
    assert noted(daemon) == ["2 start note 1"]


def test_a_database_that_is_moved_away_while_hookd_runs(daemon: Daemon, database: Path) -> None:
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        away = daemon.directory / "away"
        database.parent.rename(away)
        assert failure(wire)
        assert not database.parent.exists()
        away.rename(database.parent)
        recovered(daemon)
        assert wire.start()["job_id"] == 2


def test_results_that_come_before_the_books_can_be_read(
    daemon: Daemon, runner: Any, database: Path
) -> None:
    """The runner keeps them: it is not met before its runs are known."""
    waiting(daemon, "slow", START, "exit 3")
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
    daemon.kill()
    away = daemon.directory / "away"
    database.rename(away)
    let_go(daemon, "slow")
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        assert "is gone" in failure(wire)
        away.rename(database)
        recovered(daemon)
        assert ended(wire, 1, runs=1)[0]["exit_status"] == 3
    assert noted(daemon) == ["1 start slow 1"]


def test_a_stop_while_the_disk_fails(daemon: Daemon) -> None:
    waiting(daemon, "slow", START)
    daemon.start()
    assert daemon.process is not None
    with Wire(daemon.socket) as wire:
        wire.start()
        running(daemon)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (0, -1))
        failure(wire)
    let_go(daemon, "slow")
    assert daemon.stop() == 0
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert ended(wire, 1, runs=1)[0]["result"] == "interrupted"
