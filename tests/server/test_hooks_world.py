# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a hook finds: nothing of the program that started it, and no other hook in its way."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.wire import JOB, Wire

LOOK = """\
cat /proc/self/status >{to}/status
tr '\\0' '\\n' </proc/self/environ >{to}/environ
ls -l /proc/self/fd >{to}/fd
echo "$$ $(ps -o sid= -p $$) $(umask) $PWD" >{to}/shell
"""

TOLD = {
    *("EVENT", "PHASE", "CLIENT_IP", "CLIENT_BUILD_NO", "PROFILE", "PROFILE_NAME", "USER"),
    *("FILE_COUNT", "BYTE_COUNT", "JOB_ID", "HOOK", "RUN_ID", "ATTEMPT", "OUTCOME"),
    *("DURATION_SEC", "TEST"),
}


MANAGER = "io.hookd.Manager."


@pytest.fixture(scope="module")
def world(shared: Daemon) -> Daemon:
    """Return a daemon in which the hooks of each test have a profile of their own."""
    shared.directory.chmod(0o755)  # hooks of other users lie in it
    shared.start()
    return shared


def define(world: Daemon, profile: str, **hooks: str) -> None:
    """Give jobs of this profile these hooks, and no others."""
    for name, text in hooks.items():
        world.hook(name, f'match.profile = "{profile}"\n{text}')
    with Wire(world.socket) as wire:
        wire.call(MANAGER + "Reload")


def start(world: Daemon, profile: str) -> dict[str, dict[str, Any]]:
    """Start a job of this profile; return its runs, which have ended, by the hook's name."""
    with Wire(world.socket) as wire:
        return {run["hook"]: run for run in wire.start(profile=profile, wait=True)["hooks"]}


@pytest.fixture(scope="module")
def seen(world: Daemon) -> Path:
    """Return the directory where a hook, which has run, has written what it found."""
    to = world.directory / "seen"
    to.mkdir()
    script = world.script("look", LOOK.format(to=to))
    text = f'command = "{script}"\n[run]\nenvironment = {{ OWN = "a b" }}\n'
    define(world, "seen", look=text)
    assert start(world, "seen")["look"]["result"] == "success"
    return to


def test_signals_are_as_a_login_shell_has_them(seen: Path) -> None:
    status = dict(
        line.split(":", 1) for line in (seen / "status").read_text().splitlines() if ":" in line
    )
    masks = {name: int(status[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt", "ShdPnd")}
    assert masks == {"SigBlk": 0, "SigIgn": 0, "SigCgt": 0, "ShdPnd": 0}
    assert int(status["TracerPid"]) == 0


def test_the_environment_is_fresh(seen: Path) -> None:
    environ = dict(
        line.partition("=")[::2] for line in (seen / "environ").read_text().splitlines()
    )
    own = {name for name in environ if not name.startswith("HOOKD_")}
    assert own <= {
        "PATH",
        "LANG",
        "HOME",
        "LOGNAME",
        "SHELL",
        "OWN",
        "PWD",
        "OLDPWD",
        "_",
        "SHLVL",
    }
    assert own >= {"PATH", "LANG", "HOME", "LOGNAME", "SHELL"}
    assert environ["OWN"] == "a b"
    told = {name.removeprefix("HOOKD_") for name in environ if name.startswith("HOOKD_")}
    assert told == TOLD


def test_only_three_descriptors_are_open(seen: Path) -> None:
    listed = re.findall(r" (\d+) -> (\S+)", (seen / "fd").read_text())
    # ls has its own on the directory that it lists.
    open_fds = {int(fd): target for fd, target in listed if not target.startswith("/proc/")}
    assert set(open_fds) == {0, 1, 2}
    assert open_fds[1] == str(seen / "fd")


def test_session_umask_and_directory_are_its_own(seen: Path) -> None:
    pid, session, umask, directory = (seen / "shell").read_text().split()
    assert pid == session
    assert (umask, directory) == ("0077", "/")


def test_a_stuck_hook_times_out_and_delays_nobody(world: Daemon) -> None:
    define(
        world,
        "stuck",
        stuck='command = "/bin/sleep 60"\n[limits]\ntimeout = "1s"\nkill_grace = "1s"\n',
        quick='command = "/bin/true"\n',
    )
    with Wire(world.socket) as wire, Wire(world.socket) as other:

        def found() -> dict[str, tuple[str, str | None]]:
            jobs = other.call(MANAGER + "ListJobs", {"profile": "stuck"})["jobs"]
            runs = [run for job in jobs for run in other.job(job["job_id"])["hooks"]]
            return {run["hook"]: (run["state"], run["result"]) for run in runs}

        began = time.monotonic()
        wire.send("StartJob", JOB | {"profile": "stuck", "wait": True})
        eventually(lambda: found() == {"stuck": ("running", None), "quick": ("ended", "success")})
        assert time.monotonic() - began < 1
        runs = {run["hook"]: run for run in wire.receive()["parameters"]["hooks"]}
    assert time.monotonic() - began < 3
    assert runs["stuck"]["result"] == "timeout"
    assert 1_000_000 <= runs["stuck"]["duration_usec"] < 2_500_000
    assert runs["quick"]["result"] == "success"


def test_exit_statuses_and_signals_become_results(world: Daemon) -> None:
    scripts = {"zero": "exit 0", "skip": "exit 75", "three": "exit 3", "segv": "kill -SEGV $$"}
    hooks = {
        name: f'command = "{world.script(name, text)}"\nphases = ["start"]\n'
        for name, text in scripts.items()
    }
    define(world, "ends", **hooks)
    runs = start(world, "ends")
    found = {n: (r["result"], r["exit_status"], r["signal"]) for n, r in runs.items()}
    assert found == {
        "zero": ("success", 0, None),
        "skip": ("skipped", 75, None),
        "three": ("failed", 3, None),
        "segv": ("signalled", None, "SIGSEGV"),
    }


def test_limits_are_in_force_from_the_first_instruction(world: Daemon) -> None:
    to = world.directory / "limits"
    script = world.script("show", f"cat /proc/self/limits >{to}; nice >>{to}; ionice >>{to}\n")
    define(
        world,
        "limits",
        limits=f'command = "{script}"\n[limits]\ncpu_time = "5s"\nopen_files = 77\n'
        'file_size = "3M"\nnice = 7\nio_class = "idle"\ncpu_affinity = [0]\n',
    )
    assert start(world, "limits")["limits"]["result"] == "success"
    text = to.read_text()
    soft = {line[:26].strip(): line[26:47].strip() for line in text.splitlines()[1:-2]}
    assert soft["Max cpu time"] == "5"
    assert soft["Max open files"] == "77"
    assert soft["Max file size"] == str(3 * 1024 * 1024)
    assert text.splitlines()[-2:] == ["7", "idle"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a hook as another user")
def test_a_hook_runs_as_the_user_it_names(world: Daemon) -> None:
    to = world.directory / "who"
    to.touch()
    to.chmod(0o666)
    script = world.script("ask", f"id -un >{to}; id -Gn >>{to}; echo $HOME $LOGNAME >>{to}\n")
    define(world, "who", who=f'command = "{script}"\n[run]\nuser = "nobody"\n')
    assert start(world, "who")["who"]["result"] == "success"
    assert to.read_text().splitlines() == ["nobody", "nogroup", "/nonexistent nobody"]
