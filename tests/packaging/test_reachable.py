# SPDX-License-Identifier: LGPL-2.1-or-later
"""The copy of hookd that tests give to other users works, wherever the tree is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import hookd
from tests.support.reachable import copy, open_to_all, programs

NOBODY = 65534


def as_nobody(*command: str | Path, cwd: Path) -> str:
    """Return what a command prints to nobody, in a directory that is closed to nobody."""
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    done = subprocess.run(
        command, cwd=cwd, check=True, stdout=subprocess.PIPE, encoding="utf-8", **user
    )
    return str(done.stdout)


def test_a_copy_is_whole_and_apart_from_the_tree(scratch: Path) -> None:
    closed = scratch / "closed"
    closed.mkdir(0o700)
    copied = copy(scratch)
    scratch.chmod(0o755)
    for program in ("hookd", "hookd-runner", "hookctl"):
        assert hookd.__version__ in as_nobody(copied / program, "--version", cwd=closed)
    assert "prometheus_client" in as_nobody(
        copied / "python", "-c", "import prometheus_client as p; print(p.__name__)", cwd=closed
    )
    names = "hookd.cli.commands, hookd.runner.main, tests.attack.weapons"
    shown = as_nobody(
        copied / "python",
        "-c",
        f"import {names}; print(hookd.__file__, tests.__path__)",
        cwd=closed,
    )
    assert shown.count(str(copied.parent)) == 2


@pytest.mark.parametrize(("above", "file"), [(0o700, 0o644), (0o711, 0o600), (0o710, 0o644)])
def test_what_is_closed_to_others_is_known(scratch: Path, above: int, file: int) -> None:
    scratch.chmod(0o755)
    directory = scratch / "directory"
    directory.mkdir()
    path = directory / "file"
    path.touch()
    path.chmod(0o644)
    assert open_to_all(path)
    directory.chmod(above)
    path.chmod(file)
    assert not open_to_all(path)


def test_every_user_finds_the_programs(scratch: Path) -> None:
    assert hookd.__version__ in as_nobody(programs() / "hookd", "--version", cwd=scratch)
