# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every value reaches the hook as exactly one argument, byte for byte, or is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.records import Records
from tests.support.wire import JOB, Wire

AWKWARD = [
    "two words",
    "'single' \"double\"",
    "$(id) `id` ; | & > /dev/null",
    "line one\nline two",
    "-rf",
    "héllo 🦜 \u202e\x07\x1b[31m",
    "*",
    "\\",
    "=",
    "k" * 100_000,
    "ü" * 60_000,
]

WRITE = """\
import json, os, sys
told = {k: v for k, v in os.environ.items() if k.startswith("HOOKD_")}
with open(sys.argv[1], "w", encoding="utf-8", errors="surrogateescape") as file:
    json.dump({"argv": sys.argv[2:], "env": told, "stdin": json.load(sys.stdin)}, file)
"""


@pytest.fixture(scope="module")
def told(shared: Daemon) -> Path:
    """Return the file where the hook of a started daemon writes what it is told."""
    path = shared.directory / "told"
    script = shared.directory / "write.py"
    script.write_text(f"#!/usr/bin/python3\n{WRITE}")
    script.chmod(0o755)
    shared.hook("write", f'command = "{script} {path} $PROFILE_NAME x$USER ${{PROFILE}}$$"')
    shared.start()
    return path


@pytest.mark.parametrize("value", AWKWARD, ids=lambda v: ascii(v[:20]))
def test_a_value_is_one_argument(shared: Daemon, told: Path, value: str) -> None:
    with Wire(shared.socket) as wire:
        answer = wire.start(profile=value, user=value, wait=True)
    assert [run["result"] for run in answer["hooks"]] == ["success"]
    found = json.loads(told.read_text(encoding="utf-8"))
    assert found["argv"] == [value, "x" + value, value.replace(" ", "_") + "$"]
    assert found["env"]["HOOKD_PROFILE_NAME"] == value
    assert found["env"]["HOOKD_USER"] == value
    assert (found["stdin"]["profile"], found["stdin"]["user"]) == (value, value)


def test_no_value_forges_a_line(shared: Daemon, told: Path, records: Records) -> None:
    forged = "x\nhookd: job 99 ended: success"
    with Wire(shared.socket) as wire:
        job = wire.start(profile=forged, user=forged, wait=True)["job_id"]
    found = records.find(HOOKD_JOB_ID=job)
    assert len(found) >= 3
    assert all("\n" not in record["MESSAGE"] for record in found)
    assert {record["HOOKD_PROFILE_NAME"] for record in found} == {forged}
    assert {record["HOOKD_PROFILE"] for record in found} == {forged.replace(" ", "_")}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("profile", "a\0b", "NUL"),
        ("profile", "", "empty"),
        ("profile", "k" * 120_001, "120000"),
        ("user", "ü" * 60_001, "120000"),
        ("user", "\0", "NUL"),
        ("client_build_no", "1" * 65, "64"),
        ("client_ip", "", "empty"),
        ("client_ip", "10.1.2.300", "IPv4 or IPv6 address"),
        ("client_ip", "10.1.2.3%eth0", "IPv4 or IPv6 address"),
        ("client_ip", "fe80::1%a b", "IPv4 or IPv6 address"),
        ("server_job_id", "", "empty"),
        ("attributes", {"k" * 120_001: ""}, "120000"),
    ],
)
def test_what_cannot_be_passed_on_is_refused(
    shared: Daemon, told: Path, field: str, value: Any, words: str
) -> None:
    with Wire(shared.socket) as wire:
        before = wire.start(wait=True)["job_id"]
        name, parameters = wire.error("StartJob", JOB | {field: value})
        assert name == "org.varlink.service.InvalidParameter"
        assert parameters["parameter"] == field
        assert words in parameters["message"]
        assert wire.start(wait=True)["job_id"] == before + 1, "a refused one takes no ID"


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "::ffff:10.0.0.1"]
)
def test_addresses_that_are_taken(shared: Daemon, told: Path, address: str) -> None:
    with Wire(shared.socket) as wire:
        wire.start(client_ip=address, wait=True)
    assert json.loads(told.read_text())["env"]["HOOKD_CLIENT_IP"] == address


def test_counts_reach_the_hook_at_the_end_alone(shared: Daemon, told: Path) -> None:
    most = 2**63 - 1
    with Wire(shared.socket) as wire:
        job = wire.start(wait=True)["job_id"]
        env = json.loads(told.read_text())["env"]
        assert (env["HOOKD_EVENT"], env["HOOKD_PHASE"]) == ("true", "start")
        assert (env["HOOKD_FILE_COUNT"], env["HOOKD_BYTE_COUNT"]) == ("0", "0")
        wire.end(job_id=job, file_count=most, byte_count=most, outcome="warning", wait=True)
        env = json.loads(told.read_text())["env"]
        assert (env["HOOKD_EVENT"], env["HOOKD_PHASE"]) == ("false", "end")
        assert (env["HOOKD_FILE_COUNT"], env["HOOKD_BYTE_COUNT"]) == (str(most), str(most))
        assert (env["HOOKD_OUTCOME"], env["HOOKD_JOB_ID"]) == ("warning", str(job))
        assert int(env["HOOKD_DURATION_SEC"]) < 60
        for field in ("file_count", "byte_count"):
            for value in (-1, most + 1, 10**30):
                name, parameters = wire.error(
                    "EndJob", {"job_id": job, "file_count": 0, "byte_count": 0, field: value}
                )
                assert (name, parameters["parameter"]) == (
                    "org.varlink.service.InvalidParameter",
                    field,
                )
