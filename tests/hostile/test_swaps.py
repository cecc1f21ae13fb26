# SPDX-License-Identifier: LGPL-2.1-or-later
"""Another user changes what stands on a hook's path, again and again, while it is run."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hookd.model import Result
from tests.support.runner import PYTHON, Runner

RUNS = 2000
AT_A_TIME = 20
MALLORY = pwd.getpwnam("daemon")  # Debian's base system has this account

pytestmark = pytest.mark.hostile

SWAP = """
import contextlib, os, sys
good, evil, enough = sys.argv[1:]
swaps = tries = 0
said = False
os.set_blocking(0, False)
while True:
    for step in ((good, good + ".old"), (evil, good), (good, evil), (good + ".old", good)):
        tries += 1
        with contextlib.suppress(OSError):
            os.rename(*step)
            swaps += 1
    if not said and (swaps or tries) > int(enough):
        said = True
        print("enough", flush=True)
    try:
        if not os.read(0, 1):
            break
    except BlockingIOError:
        pass
print(swaps)
"""


@pytest.fixture
def runner(scratch: Path) -> Iterator[Runner]:
    """Return a runner of the test's own."""
    with Runner(scratch) as runner:
        yield runner


@contextlib.contextmanager
def swapping(good: Path, evil: Path) -> Iterator[tuple[Callable[[], bool], list[int]]]:
    """Have another user's process swap two files; in the end, how often it could.

    The first value tells whether it has tried more often than there are runs, and done it where
    it may.
    """
    swaps: list[int] = []
    with subprocess.Popen(
        [PYTHON, "-c", SWAP, good, evil, str(RUNS)],
        user=MALLORY.pw_uid,
        group=MALLORY.pw_gid,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = process.stdout
        yield lambda: bool(select.select([said], [], [], 0)[0]), swaps
        swaps.append(int(process.communicate()[0].split()[-1]))


def results(runner: Runner, enough: Callable[[], bool]) -> set[tuple[Result, str | None]]:
    """Run the hook many times, several at once; return how that ended."""
    found = set()
    runs = 0
    while runs < RUNS or not enough():
        runs += AT_A_TIME
        begun = [runner.begin("hook") for _ in range(AT_A_TIME)]
        for run_id in begun:
            receipt = runner.until_ended(run_id)
            found.add((receipt.result, receipt.reason))
    return found


@pytest.fixture
def room(runner: Runner) -> Path:
    """Return where the foreign program leaves a mark; it lies in `theirs`, beside the hook."""
    if os.geteuid() != 0:
        pytest.skip("only root has another user at hand")
    room = runner.directory / "room"
    theirs = runner.directory / "theirs"
    for directory in (room, theirs, theirs / "good", theirs / "evil"):
        directory.mkdir()
        directory.chmod(0o755)
    room.chmod(0o1777)
    runner.script("theirs/good/hook", "exit 0\n")
    runner.script("theirs/evil/hook", f"touch {room}/mark\n")
    os.chown(theirs / "evil", MALLORY.pw_uid, -1)
    os.chown(theirs / "evil/hook", MALLORY.pw_uid, -1)
    return room


def load(runner: Runner, program: str) -> None:
    """Have the hook be this program, which is in order at that time."""
    runner.hook("hook", f'command = "{runner.directory / program}"\n')
    assert runner.reload().errors == []
    assert runner.run("hook").result is Result.SUCCESS


@pytest.mark.parametrize(
    ("program", "good", "evil"),
    [
        ("theirs/good/hook", "theirs/good", "theirs/evil"),  # a directory above it
        ("theirs/hook", "theirs/hook", "theirs/evil/hook"),  # the program itself
        ("link", "theirs/good", "theirs/evil"),  # a step on the way of a link
    ],
)
def test_who_owns_a_step_of_the_path_gets_nothing_run(
    runner: Runner, room: Path, program: str, good: str, evil: str
) -> None:
    theirs = runner.directory / "theirs"
    runner.script("theirs/hook", "exit 0\n")
    (runner.directory / "link").symlink_to("theirs/good/hook")
    load(runner, program)
    os.chown(theirs, MALLORY.pw_uid, -1)
    with swapping(runner.directory / good, runner.directory / evil) as (enough, swaps):
        ended = results(runner, enough)
    assert ended == {
        (Result.SPAWN_FAILED, f"{theirs} belongs to user daemon, who could change it")
    }
    assert swaps[0] > RUNS and not (room / "mark").exists()


def test_in_a_sticky_directory_nobody_swaps_what_is_roots(runner: Runner, room: Path) -> None:
    (runner.directory / "theirs").chmod(0o1777)
    load(runner, "theirs/good/hook")
    theirs = runner.directory / "theirs"
    with swapping(theirs / "good", theirs / "evil") as (enough, swaps):
        ended = results(runner, enough)
    assert ended == {(Result.SUCCESS, None)}
    assert swaps == [0] and not (room / "mark").exists()
