# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may ask what, as the kernel knows them: users, groups, supplementary ones, strangers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hookd.config.parse import Access
from hookd.server.api.access import Principals
from hookd.server.api.principals import admitted
from tests.attack.rubbish import ANSWERED, CLOSED
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.wire import Wire

MANAGER = "io.hookd.Manager."
DENIED = {"error": "org.varlink.service.PermissionDenied", "parameters": {}}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else")


def asked_as(identity: list[str], path: Path, messages: list[bytes]) -> list[Any]:
    """Return what a process of this user and groups is answered, None where it is not."""
    script = (
        "import json, socket, sys\n"
        "for line in sys.stdin.buffer.read().split(b'\\0\\0'):\n"
        "    with socket.socket(socket.AF_UNIX) as s:\n"
        "        s.settimeout(10)\n"
        "        s.connect(sys.argv[1])\n"
        "        try:\n"
        "            s.sendall(line + b'\\0')\n"
        "            data = s.recv(65536)\n"
        "        except ConnectionError:\n"
        "            data = b''\n"
        "        print(data.rstrip(b'\\0').decode() or 'null')\n"
    )
    done = subprocess.run(
        ["setpriv", *identity, sys.executable, "-c", script, path],
        input=b"\0\0".join(messages), stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def call(method: str) -> bytes:
    """Return a call without parameters."""
    return json.dumps({"method": method}).encode()


def opened(daemon: Daemon) -> Daemon:
    """Start a daemon whose socket is open to everybody, with a list of its own."""
    (daemon.directory / "hookd.toml").write_text(
        '[access]\nsubmit = ["@games", "3001"]\nmanage = ["@3002", "daemon"]\n'
    )
    daemon.directory.chmod(0o755)
    daemon.start()
    daemon.socket.chmod(0o666)
    return daemon


@pytest.fixture
def door(daemon: Daemon) -> Daemon:
    """Return one that is the test's own."""
    return opened(daemon)


@pytest.fixture(scope="module")
def shared_door(shared: Daemon) -> Daemon:
    """Return one whose list stays as it is."""
    return opened(shared)


STATUS, RELOAD, LOST = (
    call(MANAGER + "GetStatus"), call(MANAGER + "Reload"), call("io.hookd.Jobs.ServerStarted"),
)  # fmt: skip


@as_root
@pytest.mark.parametrize(
    ("identity", "looks", "manages", "submits"),
    [
        (["--reuid=3001", "--regid=9", "--clear-groups"], True, False, True),
        (["--reuid=3009", "--regid=games", "--clear-groups"], True, False, True),
        (["--reuid=3009", "--regid=9", "--groups=9,60,games"], True, False, True),
        (["--reuid=3009", "--regid=9", "--groups=3002"], True, True, False),
        (["--reuid=daemon", "--regid=9", "--clear-groups"], True, True, False),
        (["--reuid=3001", "--regid=9", "--groups=3002"], True, True, True),
        (["--reuid=3002", "--regid=3001", "--clear-groups"], False, False, False),
    ],
)
def test_what_each_may(
    shared_door: Daemon, identity: list[str], looks: bool, manages: bool, submits: bool
) -> None:
    answers = asked_as(identity, shared_door.socket, [STATUS, RELOAD, LOST])
    assert [answer != DENIED for answer in answers] == [looks, manages, submits]


@as_root
def test_a_stranger_learns_nothing_else(door: Daemon, records: Records) -> None:
    stranger = ["--reuid=3009", "--regid=9", "--clear-groups"]
    messages = [
        STATUS, RELOAD, call("org.varlink.service.GetInfo"), call("x.y"), b"{}", b"x", b"[" * 3000,
        *(message for message in CLOSED if len(message) < 10_000),
        *(message for message in ANSWERED if len(message) < 10_000),
    ]  # fmt: skip
    began = time.monotonic()
    assert asked_as(stranger, door.socket, messages) == [DENIED] * len(messages)
    seconds = time.monotonic() - began
    said = [record["MESSAGE"] for record in records.find(SYSLOG_IDENTIFIER="hookd")]
    lines = [line for line in said if "uid 3009" in line]
    assert 1 <= len(lines) <= 1 + seconds
    assert all("was denied everything" in line and "(pid " in line for line in lines)
    assert not [line for line in said if "cut off" in line]


@as_root
def test_rights_change_with_a_reload(door: Daemon) -> None:
    with Wire(door.socket) as wire:
        (door.directory / "hookd.toml").write_text('[access]\nsubmit = ["3009"]\n')
        wire.call(MANAGER + "Reload")
    identity = ["--reuid=3009", "--regid=9", "--clear-groups"]
    assert asked_as(identity, door.socket, [STATUS])[0] != DENIED
    identity = ["--reuid=3001", "--regid=9", "--clear-groups"]
    eventually(lambda: asked_as(identity, door.socket, [STATUS]) == [DENIED])


def test_names_and_numbers() -> None:
    root = Principals(frozenset({0}), frozenset({0}))
    found = admitted(Access(submit=("root", "@root"), manage=("0", "@0")))
    assert (found.submit, found.manage, found.errors) == (root, root, [])
    most = admitted(Access(submit=(str(2**32 - 2),), manage=())).submit
    assert most.uids == {2**32 - 2}


@pytest.mark.parametrize(
    "name", ["nobody at all", "@nobody at all", str(2**32 - 1), "-1", "１", "@"]
)
def test_who_is_not_there(name: str) -> None:
    found = admitted(Access(submit=(name, "root"), manage=(name,)))
    assert found.submit == Principals(frozenset({0}), frozenset())
    assert found.manage == Principals(frozenset(), frozenset())
    assert len(found.errors) == 2
    assert repr(name) in found.errors[0]
    assert "by name or number" in found.errors[0]
