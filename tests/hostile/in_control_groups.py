# SPDX-License-Identifier: LGPL-2.1-or-later
"""What only holds where cgroup v2 is delegated; test_cgroups.py runs this file in such a place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hookd.model import Result
from hookd.runner import cgroup
from tests.support.eventually import eventually
from tests.support.runner import PYTHON, Runner


@pytest.fixture
def runner(scratch: Path) -> Iterator[Runner]:
    """Return a runner whose hooks are another user's."""
    with Runner(scratch, None, "daemon") as runner:
        yield runner


def groups() -> list[Path]:
    """Return the groups of runs."""
    base = cgroup.delegated()
    assert base is not None
    return list(base.glob("run-*"))


def define(runner: Runner, script: str, limits: str) -> None:
    """Make a hook of an sh script."""
    program = runner.script("hook", script)
    runner.hook("hook", f'command = "{program}"\n[limits]\n{limits}\n')
    loaded = runner.reload()
    assert not loaded.errors, loaded.errors
    assert not [note for note in loaded.notes if "cgroup" in note]


def test_limits_are_the_kernels(runner: Runner) -> None:
    define(
        runner,
        "own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)\n"
        "cd $own && echo $(cat memory.max memory.oom.group pids.max cpu.weight)",
        'memory = "64M"\nprocesses = 9\ncpu_weight = 50',
    )
    assert runner.run("hook").last_line == f"{64 << 20} 1 10 50"


def test_the_peak_is_the_groups_and_of_this_run_alone(runner: Runner) -> None:
    define(runner, 'eval "$PROFILE_CODE"', 'memory = "200M"')
    runner.script("hook", f"{PYTHON} -c 'x = b\"x\" * ('$HOOKD_USER' << 20)'\n")
    large = runner.run("hook", user="100")
    small = runner.run("hook", user="1")
    assert (large.result, small.result) == (Result.SUCCESS, Result.SUCCESS)
    assert large.memory_peak > 100 << 20
    assert small.memory_peak < 60 << 20


def test_the_group_goes_with_its_launcher(runner: Runner) -> None:
    define(runner, "exit 0", "processes = 9")
    assert not groups()
    assert runner.run("hook").result is Result.SUCCESS
    assert groups()
    eventually(lambda: not groups(), within=120)


def test_a_hook_that_kills_its_launcher_leaves_nothing_in_the_group(runner: Runner) -> None:
    define(runner, "setsid sleep 60 &\nkill -KILL $PPID; sleep 60", "processes = 9")
    receipt = runner.run("hook")
    assert (receipt.result, receipt.survivors) == (Result.SIGNALLED, 0)
    eventually(lambda: not groups(), within=60)
