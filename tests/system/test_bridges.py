# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backup programs of Debian's, each backing up a small tree as a job of hookd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.box import Box
from tests.support.machine import Output, debian
from tests.system.conftest import BASE, TOOLS, depends, install

BRIDGES = "/usr/share/doc/hookd/examples/bridges"
GATE = "/usr/local/libexec/gate"
GATE_HOOK = f'command = "{GATE}"\nkind = "gate"\nphases = ["start"]\n'


@pytest.fixture(scope="module")
def backup_box(deb: Path) -> Iterator[Box]:
    """Return a booted Debian 13 with hookd, the backup programs and something to back up."""
    with Box(
        debian("trixie", [*BASE, *TOOLS, *depends(deb), "backuppc", "borgmatic", "rsync"])
    ) as box:
        install(box, deb)
        box.run(
            "mkdir -p /srv/documents /srv/vault && head -c 100000 /dev/urandom >/srv/documents/a"
        )
        yield box


@pytest.fixture
def refusing(backup_box: Box) -> Iterator[None]:
    """Let a gate refuse every job for the length of a test."""
    backup_box.write(GATE, "#!/bin/sh\necho the tape is full\nexit 1\n", "0755")
    backup_box.write("/etc/hookd/hooks.d/gate.toml", GATE_HOOK)
    backup_box.run("hookctl reload")
    yield
    backup_box.run("rm /etc/hookd/hooks.d/gate.toml && hookctl reload")


def newest_job(box: Box) -> dict[str, Any]:
    """Return what hookd knows of the newest job."""
    (job,) = json.loads(box.read("hookctl --json jobs --limit 1"))["jobs"]
    assert isinstance(job, dict)
    return job


@pytest.fixture(scope="module")
def borgmatic(backup_box: Box) -> Box:
    """Return the box with a repository, and borgmatic's configuration with the bridge in it."""
    bridge = backup_box.read(f"cat {BRIDGES}/borgmatic.yaml")
    config = (
        "source_directories:\n    - /srv/documents\n"
        "repositories:\n    - path: /srv/vault/borg\n"
        "source_directories_must_exist: true\n"
    )
    backup_box.write("/etc/borgmatic/config.yaml", config + bridge)
    backup_box.run("borgmatic init --encryption none")
    return backup_box


def test_borgmatic(borgmatic: Box) -> None:
    borgmatic.run("borgmatic create")
    job = newest_job(borgmatic)
    assert (job["profile"], job["state"], job["outcome"]) == ("borgmatic", "ended", "success")


def test_a_failing_borgmatic(borgmatic: Box) -> None:
    borgmatic.run("mv /srv/documents /srv/elsewhere")
    failed = borgmatic.run("borgmatic create", check=False)
    borgmatic.run("mv /srv/elsewhere /srv/documents")
    assert failed.status != 0
    assert newest_job(borgmatic)["outcome"] == "error"


def test_a_refused_borgmatic_backs_up_nothing(borgmatic: Box, refusing: None) -> None:
    before = borgmatic.read("borg list --short /srv/vault/borg")
    refused = borgmatic.run("borgmatic create")  # 75 is what borgmatic calls a soft failure
    assert "the tape is full" in refused.stdout + refused.stderr
    assert borgmatic.read("borg list --short /srv/vault/borg") == before
    assert newest_job(borgmatic)["state"] == "refused"


def test_a_unit_that_backs_up(backup_box: Box) -> None:
    backup_box.run(f"cp {BRIDGES}/backup.service /etc/systemd/system/ && systemctl daemon-reload")
    backup_box.run("mkdir -p /srv/vault/documents && systemctl start backup.service")
    job = newest_job(backup_box)
    assert (job["profile"], job["outcome"]) == ("documents", "success")
    assert len(job["server_job_id"]) == 32
    backup_box.run("rm -r /srv/vault && touch /srv/vault")
    assert backup_box.run("systemctl start backup.service", check=False).status != 0
    backup_box.run("rm /srv/vault && mkdir /srv/vault")
    assert newest_job(backup_box)["outcome"] == "error"


def test_a_refused_unit_backs_up_nothing(backup_box: Box, refusing: None) -> None:
    backup_box.run(f"cp {BRIDGES}/backup.service /etc/systemd/system/ && systemctl daemon-reload")
    assert backup_box.run("systemctl start backup.service", check=False).status != 0
    assert newest_job(backup_box)["state"] == "refused"
    assert backup_box.run("test -e /srv/vault/documents", check=False).status != 0
    assert "the tape is full" in backup_box.read("journalctl -q -u backup.service -o cat")


def test_rsync_in_the_wrapper(backup_box: Box) -> None:
    wrapper = f"{BRIDGES}/backup-wrapper documents ann@example.com"
    backup_box.run(f"{wrapper} rsync -a /srv/documents/ /srv/vault/")
    assert newest_job(backup_box)["outcome"] == "success"
    failed = backup_box.run(f"{wrapper} rsync -a /srv/nothing/ /srv/vault/", check=False)
    assert failed.status == 23
    assert newest_job(backup_box)["outcome"] == "error"


@pytest.fixture(scope="module")
def backuppc(backup_box: Box) -> Box:
    """Return the box with BackupPC running, and the bridge in its host's configuration."""
    backup_box.run(f"install -D {BRIDGES}/backuppc /usr/local/libexec/hookd/backuppc")
    backup_box.run("usermod --append --groups hookd backuppc")
    bridge = backup_box.read(f"sed -n 's/^# *\\($Conf{{.*;\\).*/\\1/p' {BRIDGES}/backuppc")
    host = "$Conf{TarShareName} = ['/srv/documents'];\n"
    backup_box.run("cat >>/etc/backuppc/localhost.pl", stdin=f"{host}{bridge}\n")
    # The programs for other ways to reach a host are not installed, and BackupPC insists on them.
    absent = ("SmbClientPath", "NmbLookupPath", "PingPath", "Ping6Path", "SshPath")
    settings = "".join(f"$Conf{{{name}}} = '';\n" for name in absent)
    settings += "$Conf{PingCmd} = '/bin/true';\n"
    backup_box.run("cat >>/etc/backuppc/config.pl", stdin=settings)
    backup_box.run("systemctl reset-failed backuppc; systemctl restart backuppc")
    backup_box.until(
        lambda: backup_box.run("test -S /run/backuppc/BackupPC.sock", check=False).status == 0
    )
    return backup_box


def dump(box: Box) -> Output:
    """Have BackupPC back up localhost."""
    command = "/usr/share/backuppc/bin/BackupPC_dump -v -f localhost"
    return box.run(command, user="backuppc", check=False, seconds=120)


def test_backuppc(backuppc: Box) -> None:
    done = dump(backuppc)
    assert "dump failed" not in done.stdout, done.stdout + done.stderr
    job = newest_job(backuppc)
    assert (job["profile"], job["state"], job["outcome"]) == (
        "backuppc/localhost",
        "ended",
        "success",
    )
    assert (job["user"], job["attributes"]) == ("backuppc", {"type": "full"})


def test_a_refused_backuppc(backuppc: Box, refusing: None) -> None:
    done = dump(backuppc)
    assert "the tape is full" in done.stdout
    assert "dump failed: DumpPreUserCmd returned error status" in done.stdout
    assert newest_job(backuppc)["state"] == "refused"
