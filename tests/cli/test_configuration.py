# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl check and hookctl reload."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.hookctl import hookctl
from tests.support.daemon import Daemon
from tests.support.reachable import programs

GOOD = 'command = "/bin/true $EVENT"\n'
BAD = 'comand = "/bin/true"\n[limits]\ntimeout = "300"\n'


def test_check_of_files_needs_no_daemon(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "hookd.toml").write_text("[daemon]\nmax_running = 0\n")
    (tmp_path / "bad.toml").write_text(BAD)
    done = hookctl("check", tmp_path / "good.toml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 hook checked, no errors\n", "")
    done = hookctl("check", *(tmp_path / f"{n}.toml" for n in ("hookd", "good", "bad")))
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"hookctl: {tmp_path}/") for line in lines)
    assert "did you mean command?" in done.stderr
    assert 'limits.timeout: found "300"' in done.stderr


def test_check_looks_at_the_programs(tmp_path: Path) -> None:
    program = tmp_path / "hook.sh"
    (tmp_path / "h.toml").write_text(f'command = "{program}"\n')
    assert "does not exist" in hookctl("check", tmp_path / "h.toml").stderr
    program.write_text("#!/bin/sh\r\necho\r\n")
    program.chmod(0o755)
    assert "CR" in hookctl("check", tmp_path / "h.toml").stderr
    program.write_text("#!/bin/sh\necho\n")
    assert hookctl("check", tmp_path / "h.toml").returncode == 0
    program.chmod(0o777)
    refused = hookctl("--json", "check", tmp_path / "h.toml")
    assert refused.returncode == 1
    (error,) = json.loads(refused.stderr)["parameters"]["errors"]
    assert str(program) in error


def test_check_looks_at_who_could_change_a_file(tmp_path: Path) -> None:
    path = tmp_path / "h.toml"
    path.write_text(GOOD)
    path.chmod(0o666)
    refused = hookctl("check", path)
    assert refused.returncode == 1
    assert "is writable by everybody (mode 0666)" in refused.stderr


def test_check_reads_what_a_user_has_set_up(tmp_path: Path) -> None:
    (tmp_path / "hookd" / "hooks.d").mkdir(parents=True)
    (tmp_path / "hookd" / "hooks.d" / "good.toml").write_text(GOOD)
    (tmp_path / "hookd" / "hooks.d" / "good.toml~").write_text(GOOD)
    done = hookctl("check", env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path)})
    if os.geteuid() == 0:  # root's is /etc/hookd, whatever the environment says
        assert str(tmp_path) not in done.stdout + done.stderr
    else:
        assert (done.returncode, done.stdout) == (0, "1 hook checked, no errors\n")
        assert "good.toml~: ignored" in done.stderr


def as_another_user(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Call hookctl as the user nobody, or as ourselves where we are not root."""
    switch: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    return subprocess.run(
        [programs() / "hookctl", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        **(switch if os.geteuid() == 0 else {}),
    )


def test_an_ordinary_user_is_told_which_configuration_is_checked(scratch: Path) -> None:
    scratch.chmod(0o755)
    done = as_another_user("check", XDG_CONFIG_HOME=str(scratch))
    assert (done.returncode, done.stdout) == (0, "0 hooks checked, no errors\n")
    assert done.stderr == (
        f"hookctl: checking {scratch}/hookd/hookd.toml and hooks.d beside it; "
        "the system's is /etc/hookd/hookd.toml\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of root's")
def test_an_ordinary_user_does_not_judge_roots_files_by_what_that_user_may_do(
    scratch: Path,
) -> None:
    scratch.chmod(0o755)
    path = scratch / "h.toml"
    path.write_text('command = "/root/no/such"\nrun.user = "daemon"\n')
    done = as_another_user("check", path)
    assert (done.returncode, done.stdout) == (0, "1 hook checked, no errors\n")
    assert "only the text of h was checked" in done.stderr
    assert hookctl("check", path).returncode == 1  # root can tell
    path.write_text('comand = "/root/no/such"\n')
    assert "did you mean command?" in as_another_user("check", path).stderr


def test_reload_is_all_or_nothing(daemon: Daemon) -> None:
    daemon.hook("one", GOOD)
    daemon.start()
    at = ("--socket", daemon.socket)
    daemon.hook("two", GOOD)
    assert hookctl(*at, "reload").stdout == "2 hooks loaded\n"
    bad = daemon.hook("three", BAD)
    daemon.hook("four", GOOD)
    refused = hookctl(*at, "reload")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert all(line.startswith(f"hookctl: {bad}: ") for line in refused.stderr.splitlines())
    assert [hook["name"] for hook in json.loads(hookctl(*at, "--json", "hooks").stdout)] == [
        "one",
        "two",
    ]
    bad.unlink()
    assert json.loads(hookctl(*at, "--json", "reload").stdout)["hooks"] == 3


def test_a_named_pipe_costs_the_reload_alone(daemon: Daemon) -> None:
    daemon.hook("one", GOOD)
    daemon.start()
    path = daemon.directory / "hooks.d/pipe.toml"
    os.mkfifo(path)
    refused = hookctl("--socket", daemon.socket, "reload")
    assert refused.returncode == 1
    assert f"{path} is a named pipe, not a file" in refused.stderr
    assert daemon.stop() == 0
