# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the README shows works as it stands there; only the directory of the hooks is another.

Its commands that install packages run in tests/system/test_readme.py.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.table import BEGIN, END, FRONT_PAGE
from hookd.config.files import read_files
from tests.support.daemon import BIN, READY_WITHIN, STOPPED_WITHIN, Daemon
from tests.support.eventually import eventually
from tests.support.reachable import programs
from tests.support.wire import Wire

TREE = Path(__file__).parents[2]
README = (TREE / "README.md").read_text()
# The first lines of the blocks that are not run here, each with what runs them.
ELSEWHERE = {
    "make deb": "tests/system/test_readme.py",
    "make rpm": "tests/system/test_rpm.py",
    "packaging/demo": "tests/cli/test_demo.py",
}
IN_ORDER = ("cat", "hookctl")  # what the blocks begin with that run in one shell
NOBODY = 65534


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_each_command_is_run_by_a_test() -> None:
    first = [block.split("\n")[0].split("#")[0].strip() for block in blocks("sh")]
    left = {line for line in first if not line.startswith(IN_ORDER)}
    assert left == {*ELSEWHERE, "packaging/setup"}
    assert {place for place in ELSEWHERE.values() if not (TREE / place).exists()} == set()


def test_the_two_commands() -> None:
    block = blocks("sh")[0]
    assert re.findall(r"(?m)^(\S+) ", block) == ["packaging/demo", "tests/run"]
    assert all(os.access(TREE / program, os.X_OK) for program in ("packaging/demo", "tests/run"))


def test_the_hook_file(scratch: Path) -> None:
    (text,) = blocks("toml")
    path = scratch / "freeze.toml"
    path.write_text(text)
    hook = read_files([path]).config.hooks["freeze"]
    assert hook.run.overlap == "serial"
    assert hook.match.profile == ("db-*",)


def test_a_first_hook_and_what_there_is_to_see(daemon: Daemon) -> None:
    script = "\n".join(block for block in blocks("sh") if block.startswith(IN_ORDER))
    assert script.count("/etc/hookd/") == 1
    hookctl = daemon.directory / "hookctl"
    hookctl.write_text(f'#!/bin/sh\nexec {BIN / "hookctl"} --socket {daemon.socket} "$@"\n')
    hookctl.chmod(0o755)
    daemon.start()
    done = subprocess.run(
        ["sh", "-eu"],
        input=script.replace("/etc/hookd", str(daemon.directory)),
        env=os.environ | {"PATH": f"{daemon.directory}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "1 hook loaded" in done.stdout
    assert len(re.findall(r"hook hello \(run \d+\) success", done.stdout)) >= 2
    assert "hello  end    yes" in done.stdout, "of hookctl why"
    assert "end of job 1: Mail_Archive, 12 files" in done.stdout + daemon.said()


def test_the_python_client(daemon: Daemon) -> None:
    daemon.start()
    (code,) = blocks("python")
    code = code.replace("Client()", f"Client({str(daemon.socket)!r})")
    subprocess.run([sys.executable, "-c", code], check=True)
    with Wire(daemon.socket) as wire:
        assert wire.job(1)["state"] == "ended"


def test_from_source_as_any_user(scratch: Path) -> None:
    (block,) = (block for block in blocks("sh") if block.startswith("packaging/setup"))
    assert block.splitlines() == ["packaging/setup", ".venv/bin/hookd"]
    hooks = scratch / ".config/hookd/hooks.d"  # as the README has it
    hooks.mkdir(parents=True)
    (hooks / "hello.toml").write_text('command = "/bin/true"\n')
    (scratch / "run").mkdir()
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        scratch.chmod(0o755)
        for path in (scratch, *scratch.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    without = {"XDG_CONFIG_HOME", "XDG_STATE_HOME"}
    env = {name: value for name, value in os.environ.items() if name not in without}
    env |= {"HOME": str(scratch), "XDG_RUNTIME_DIR": str(scratch / "run")}

    def asked() -> str:
        command = [str(programs() / "hookctl"), "hooks"]
        done = subprocess.run(
            command, env=env, cwd="/", stdout=subprocess.PIPE, encoding="utf-8", **user
        )
        return str(done.stdout)

    with subprocess.Popen(
        [programs() / "hookd"], env=env, cwd="/", stderr=subprocess.DEVNULL, **user
    ) as hookd:
        try:
            eventually(lambda: "hello" in asked(), READY_WITHIN)
        finally:
            hookd.send_signal(signal.SIGTERM)
        assert hookd.wait(STOPPED_WITHIN) == 0


@pytest.mark.parametrize(("what", "explained", "command"), FRONT_PAGE)
def test_the_figures_are_those_of_the_benchmarks(what: str, explained: str, command: str) -> None:
    whole = (TREE / "benchmarks/README.md").read_text()
    measured = re.findall(rf"(?m)^\| {re.escape(what)} \| (.*?) \|", whole)[0]
    shown = README.partition(BEGIN)[2].partition(END)[0]
    assert f"| {measured} | {explained} | `{command}` |" in shown
    program, row = command.split()
    assert (TREE / program).exists()
    assert (TREE / "benchmarks" / f"{row}.py").exists()
