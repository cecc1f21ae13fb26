# SPDX-License-Identifier: LGPL-2.1-or-later
"""What only holds where cgroup v2 is delegated; test_cgroups.py runs this file in such a place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hookd.model import Result
from hookd.runner.launch import cgroup
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
    assert large.memory_peak is not None
    assert large.memory_peak > 100 << 20
    assert (small.memory_peak or 0) < 60 << 20  # before Linux 6.12 it may not be known


def test_the_group_goes_with_its_launcher(runner: Runner) -> None:
    define(runner, "exit 0", "processes = 9")
    assert not groups()
    assert runner.run("hook").result is Result.SUCCESS
    assert groups()
    runner.reload()  # which ends launchers that wait
    eventually(lambda: not groups(), within=60)


def test_a_hook_that_kills_its_launcher_leaves_nothing_in_the_group(runner: Runner) -> None:
    define(runner, "setsid sleep 60 &\nkill -KILL $PPID; sleep 60", "processes = 9")
    receipt = runner.run("hook")
    assert (receipt.result, receipt.survivors) == (Result.SIGNALLED, 0)
    eventually(lambda: not groups(), within=60)


def test_what_a_run_leaves_in_memory_does_not_count_against_the_next(runner: Runner) -> None:
    define(runner, "head -c 15M /dev/zero >/dev/shm/$HOOKD_RUN_ID", 'memory = "64M"')
    receipts = [runner.run("hook") for _ in range(8)]
    assert {receipt.result for receipt in receipts} == {Result.SUCCESS}
    assert all((receipt.memory_peak or 0) < 30 << 20 for receipt in receipts)
    for receipt_file in Path("/dev/shm").glob("[0-9]*"):
        receipt_file.unlink()


def test_a_run_that_leaves_nothing_keeps_its_group(runner: Runner) -> None:
    define(runner, "cat /usr/bin/* >/dev/null", 'memory = "512M"')  # what is in the page cache
    runner.run("hook")
    define(runner, "exit 0", 'memory = "512M"')
    runner.run("hook")
    [group] = groups()
    assert [runner.run("hook").result for _ in range(3)] == [Result.SUCCESS] * 3
    assert groups() == [group]


def test_a_small_run_has_a_small_peak(runner: Runner) -> None:
    define(runner, "exit 0", 'memory = "64M"')
    runner.run("hook")
    peak = runner.run("hook").memory_peak
    assert peak is None or 0 < peak < 6 << 20


def test_a_group_that_a_hook_has_made_below_its_own_goes_with_it(scratch: Path) -> None:
    with Runner(scratch) as runner:
        define(
            runner, "mkdir /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/own", 'memory = "64M"'
        )
        assert runner.run("hook").result is Result.SUCCESS
    assert not groups()


@pytest.mark.parametrize(
    ("limit", "script"),
    [
        ("memory", f"{PYTHON} -c 'import time; x = b\"x\" * (200 << 20); time.sleep(60)'"),
        ("processes", "sh -c 'for i in $(seq 20); do sleep 60 & done; wait'"),
    ],
)
def test_what_leaves_the_group_is_held_to_the_limits(
    scratch: Path, limit: str, script: str
) -> None:
    with Runner(scratch) as runner:
        define(runner, f"systemd-run --scope --quiet {script}", 'memory = "64M"\nprocesses = 12')
        receipt = runner.run("hook")
    assert (receipt.result, receipt.limit, receipt.survivors) == (Result.LIMIT, limit, 0)
    assert "allowed" in (receipt.reason or "")
    if limit == "memory":
        assert receipt.memory_peak is not None
        assert receipt.memory_peak > 64 << 20


def test_what_leaves_the_group_ends_with_its_run(scratch: Path) -> None:
    scope = "/sys/fs/cgroup/system.slice/test-leaver.scope"
    with Runner(scratch) as runner:
        define(
            runner,
            "systemd-run --scope --quiet --unit=test-leaver sleep 60 &\n"
            f"until grep -q . {scope}/cgroup.procs; do sleep 0.1; done 2>/dev/null",
            'memory = "64M"',
        )
        receipt = runner.run("hook")
        assert (receipt.result, receipt.leftovers, receipt.survivors) == (Result.SUCCESS, 1, 0)
        eventually(
            lambda: not Path(scope).exists() or not Path(f"{scope}/cgroup.procs").read_text()
        )


def test_sessions_that_outlive_their_leaders(runner: Runner) -> None:
    define(
        runner,
        'for n in $(seq 10 49); do setsid sh -c "sleep 1.$n & sleep 0.$n" & done\nexit 0',
        "processes = 400",
    )
    receipts = [runner.run("hook") for _ in range(3)]
    assert {(one.result, one.exit_status) for one in receipts} == {(Result.SUCCESS, 0)}
    assert {one.survivors for one in receipts} == {0}
