# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program hookd: what it answers, what it refuses, and where it lives without options."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hookd.client import Client
from hookd.system.sockets import bind
from tests.support.daemon import BIN, READY_WITHIN, STOPPED_WITHIN, Daemon
from tests.support.eventually import eventually
from tests.support.reachable import programs

HOOKD = str(BIN / "hookd")
NOBODY = 65534


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ('command = "/bin/true"\n', 0, "1 hooks, no errors"),
        ('comand = "/bin/true"\n', 78, "comand: found an unknown key (did you mean command?)"),
    ],
)
def test_check(daemon: Daemon, text: str, status: int, said: str) -> None:
    daemon.hook("hook", text)
    command = [HOOKD, "--check", "--config", str(daemon.directory / "hookd.toml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status
    assert said in done.stdout + done.stderr


def test_it_does_not_take_the_socket_of_a_living_one(daemon: Daemon) -> None:
    with bind(daemon.socket, 0o600):
        done = subprocess.run(
            [
                *(HOOKD, "--config", str(daemon.directory / "hookd.toml")),
                *("--socket", str(daemon.socket), "--state-dir", str(daemon.directory / "state")),
            ],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("hookd: ")
    assert "another program answers there" in done.stderr


@pytest.mark.parametrize("made", [False, True])
def test_it_keeps_nothing_below_a_directory_of_somebody_else(daemon: Daemon, made: bool) -> None:
    shared = daemon.directory / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    state = shared / "below" / "state"
    if made:
        state.mkdir(mode=0o700, parents=True)
    done = subprocess.run(
        [
            *(HOOKD, "--config", str(daemon.directory / "hookd.toml")),
            *("--socket", str(daemon.socket), "--state-dir", str(state)),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"hookd: [Errno 1] not safe as a state directory: {shared} is writable by everybody "
        f"(mode 0777): '{state}'\n"
    )
    assert list(shared.rglob("*.db")) == []


@pytest.mark.parametrize(
    ("variables", "state"),
    [
        ({"XDG_STATE_HOME": "{home}/kept"}, "kept/hookd"),
        ({"HOME": "{home}"}, ".local/state/hookd"),
        ({"STATE_DIRECTORY": "{home}/first:{home}/second"}, "first"),  # systemd.exec(5)
    ],
)
def test_without_root_it_lives_where_its_user_does(
    daemon: Daemon, variables: dict[str, str], state: str
) -> None:
    home = daemon.directory / "home"
    home.mkdir()
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        daemon.directory.chmod(0o755)
        os.chown(home, NOBODY, NOBODY)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    env = {name: at for name, at in os.environ.items() if name != "XDG_STATE_HOME"}
    env |= {name: at.format(home=home) for name, at in variables.items()}
    env["XDG_RUNTIME_DIR"] = str(home)
    command = [str(programs() / "hookd"), "--config", str(daemon.directory / "hookd.toml")]
    with daemon.log.open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd="/", stderr=log, **user)
    try:
        eventually(lambda: answers(home / "hookd" / "hookd.sock"), READY_WITHIN)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(STOPPED_WITHIN)
    assert status == 0, daemon.said()
    assert list((home / state).glob("*.db")), "the database lies there"


def answers(socket: Path) -> bool:
    """Return whether hookd answers there yet."""
    try:
        with Client(socket) as hookd:
            return hookd.start_job(profile="Mail", user="", client_ip="::1").job_id > 0
    except OSError:
        return False


HANDED = """
import os, subprocess, sys
from hookd.system.sockets import activated
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[1]), 4)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[2]}
os.environ |= {"LISTEN_FDNAMES": sys.argv[3]}
sock = activated("hookd")
print(sock and (sock.fileno(), sock.get_inheritable()))
print("LISTEN" in str(os.environ) + subprocess.run(["env"], capture_output=True, text=True).stdout)
"""


@pytest.mark.parametrize(
    ("count", "names", "found"),
    [
        ("1", "hookd", (3, False)),
        ("1", "unknown", (3, False)),  # as systemd-socket-activate(1) has it
        ("2", "other:hookd", (4, False)),
        ("2", "other:another", None),
    ],
)
def test_a_socket_that_is_handed_over_is_found_by_its_name(
    count: str, names: str, found: tuple[int, bool] | None
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        done = subprocess.run(
            [sys.executable, "-c", HANDED, str(one.fileno()), count, names],
            pass_fds=[one.fileno()], capture_output=True, text=True,
        )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{found}\nFalse\n", "")


@pytest.mark.parametrize(
    ("count", "names"), [("x", "hookd"), ("2", "hookd"), ("0", ""), ("-1", "")]
)
def test_what_is_no_count_of_sockets_is_an_error_that_says_so(count: str, names: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        done = subprocess.run(
            [sys.executable, "-c", HANDED, str(one.fileno()), count, names],
            pass_fds=[one.fileno()], capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"'LISTEN_FDS': '{count}', 'LISTEN_FDNAMES': '{names}'" in done.stderr


BUILDS = {
    "no OpenSSL": ["ssl", "_ssl", "_hashlib"],
    "OpenSSL's digests and BLAKE2 alone, as Red Hat's": [
        "_md5", "_sha1", "_sha2", "_sha256", "_sha512", "_sha3",
    ],
    "OpenSSL's digests alone": [
        "_md5", "_sha1", "_sha2", "_sha256", "_sha512", "_sha3", "_blake2",
    ],
}  # fmt: skip
"""Ways to build Python, and the modules of the standard library that it then lacks."""


@pytest.mark.parametrize("build", BUILDS)
def test_any_build_of_python_will_do(daemon: Daemon, build: str) -> None:
    """Both programs read a configuration, and a request that comes again is known again."""
    without = f"import sys; sys.modules |= dict.fromkeys({BUILDS[build]}); del sys.argv[0]; "
    run = without + "from hookd.{}.main import main; sys.exit(main())"
    daemon.prefix = [sys.executable, "-c", run.format("server")]
    daemon.start()
    told: dict[str, Any] = {
        "profile": "Mail",
        "user": "ann",
        "client_ip": "10.0.0.7",
        "request_id": "same",
    }
    with daemon.client() as client:
        answers = [client.start_job(**told) for _ in range(2)]
    assert [(one.job_id, one.duplicate) for one in answers] == [(1, False), (1, True)]
    options = ["--check", "--config", str(daemon.directory / "hookd.toml")]
    runner = [sys.executable, "-c", run.format("runner"), "hookd-runner", *options]
    done = subprocess.run(runner, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "0 hooks, no errors\n"), done.stderr
