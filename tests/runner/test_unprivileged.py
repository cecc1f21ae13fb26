# SPDX-License-Identifier: LGPL-2.1-or-later
"""A runner without root's rights: what it cannot promise is told when hooks are loaded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.reachable import programs
from tests.support.runner import Runner

NAMELESS = 54321


@pytest.fixture(scope="module")
def unprivileged(shared_scratch: Path) -> Iterator[Runner]:
    """Return a runner that is not root, whoever runs the tests; each writes its `hook` anew."""
    with Runner(shared_scratch, "nobody" if os.geteuid() == 0 else None) as runner:
        yield runner


def limited(runner: Runner, limit: str) -> list[str]:
    """Return what is wrong with this limit, from the limit's name on."""
    runner.hook("hook", f'command = "/bin/true"\n[limits]\n{limit}\n')
    return [error.partition("limits.")[2] for error in runner.reload().errors]


def test_limits_above_its_own_are_told_at_load(unprivileged: Runner) -> None:
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    assert limited(unprivileged, "nice = -20") == [
        f"nice: found -20; allowed without root: {nice} to 19"
    ]
    assert limited(unprivileged, 'nice = 19\nio_class = "realtime"') == [
        'io_class: found "realtime"; allowed without root: best-effort, idle, none'
    ]
    assert limited(unprivileged, "nice = 19") == []


def test_another_user_is_not_to_be_had(unprivileged: Runner) -> None:
    unprivileged.hook("hook", 'command = "/bin/true"\n[run]\nuser = "daemon"\n')
    (error,) = unprivileged.reload().errors
    mine = unprivileged.account.pw_name
    assert f"run.user: found 'daemon'; allowed: '{mine}' or none" in error


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_user_without_a_name_is_known_by_its_number(scratch: Path) -> None:
    said = refused(scratch, [], '[run]\nuser = "daemon"\n')
    assert f"found 'daemon'; allowed: '{NAMELESS}' or none" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_limits_above_those_it_was_given_are_told(scratch: Path) -> None:
    given = ["prlimit", "--nofile=64", "--cpu=60"]
    said = refused(scratch, given, '[limits]\nopen_files = 65\ncpu_time = "61s"\n')
    assert "limits.open_files: found 65; allowed without root: at most 64" in said
    assert "limits.cpu_time: found 61; allowed without root: at most 60" in said


def refused(directory: Path, prefix: list[str], tables: str) -> str:
    """Return what is wrong with this hook, as a user without a name and below `prefix` finds."""
    runner = Runner(directory)
    runner.hook("hook", f'command = "/bin/true"\n{tables}')
    done = subprocess.run(
        [
            *(*prefix, str(programs() / "python"), "-m", "hookd.runner.main", "--check"),
            *("--config", str(directory / "hookd.toml")),
        ],
        user=NAMELESS,
        group=NAMELESS,
        extra_groups=[],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 78
    return done.stderr
