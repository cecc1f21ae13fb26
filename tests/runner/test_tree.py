# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes as they are: with a leader that has exited, reaped, a stranger's, or very many."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookd.runner.launch import process, process_tree
from hookd.runner.launch.slices import Slices
from tests.support.eventually import eventually
from tests.support.runner import PYTHON

LEADER_EXITS = Path(__file__).parents[1] / "hostile/gallery/its_leader_exits.py"


@pytest.fixture
def without_leader() -> Iterator[int]:
    """Return a process that works in 40 MB of memory, and whose first thread has exited."""
    program = subprocess.Popen([PYTHON, LEADER_EXITS, "main", "40"])
    stat = Path(f"/proc/{program.pid}/stat")
    eventually(lambda: stat.read_text().rpartition(") ")[2][0] == "Z")
    eventually(lambda: process.resident(program.pid) > 30 << 20)
    yield program.pid
    program.kill()
    program.wait()


def test_a_process_lives_as_long_as_one_of_its_threads(without_leader: int) -> None:
    assert process.status(without_leader).alive
    assert without_leader in list(process_tree.living(os.getpid()))
    assert process.proportional(without_leader) > 20 << 20
    assert process.named(without_leader) == f"{without_leader} ({Path(PYTHON).name}, {PYTHON})"
    assert ", state Z, " not in process.described(without_leader)


def test_a_process_without_its_leader_is_signalled(without_leader: int) -> None:
    reached = process_tree.signal_listed(
        os.getpid(), signal.SIGKILL, roots=lambda: [without_leader]
    )
    assert list(reached) == [0, without_leader]
    eventually(lambda: not process.status(without_leader).alive)


def test_a_zombie_is_neither_alive_nor_signalled() -> None:
    program = subprocess.Popen(["/bin/true"])
    eventually(lambda: process.status(program.pid).state == "Z")
    assert not process.status(program.pid).alive
    reached = process_tree.signal_below(os.getpid(), signal.SIGKILL, roots=lambda: [program.pid])
    assert list(reached) == [0]
    program.wait()
    assert process.status(program.pid) == process.GONE


def test_nobody_elses_process_is_signalled() -> None:
    ours, stranger = subprocess.Popen(["/bin/sleep", "60"]), subprocess.Popen(["/bin/sleep", "60"])
    try:
        # Its number was that of a child of ours a moment ago, and has been given to a stranger.
        reached = process_tree.signal_below(ours.pid, signal.SIGKILL, roots=lambda: [stranger.pid])
        assert list(reached) == [0]
        assert stranger.poll() is None
    finally:
        for program in (ours, stranger):
            program.kill()
            program.wait()


def test_a_leader_of_a_session_that_was_reaped_is_no_error() -> None:
    """Its number names the session still: pidfd_open(2) says EINVAL on some kernels."""
    program = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 60 & echo $!"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert program.stdout is not None
    member = int(program.stdout.readline())
    program.wait()
    program.stdout.close()
    try:
        assert process.status(member).session == program.pid
        reached = process_tree.signal_below(
            os.getpid(), signal.SIGKILL, roots=lambda: [program.pid]
        )
        assert list(reached) == [0]
    finally:
        os.kill(member, signal.SIGKILL)


def test_everything_is_stopped_before_anything_is_killed() -> None:
    """What starts another process anew when that ends is gone with it in one round."""
    each = "while :; do sleep 60 & echo $! ; wait $!; done"
    program = subprocess.Popen(["/bin/sh", "-c", each], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    first = int(program.stdout.readline())
    try:
        steps = process_tree.end(os.getpid(), lambda: [program.pid])
        assert next(pid for pid in steps if pid) == first
        eventually(lambda: process.status(program.pid).state == "T")
        assert [pid for pid in steps if pid] == [program.pid]
        assert program.wait(10) == -signal.SIGKILL
        assert program.stdout.read() == "", "it had time to start another"
    finally:
        program.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGKILL)


def test_a_long_look_lets_others_have_their_turns() -> None:
    fair_queue = 0

    async def others() -> None:
        nonlocal fair_queue
        while True:
            fair_queue += 1
            await asyncio.sleep(0)

    def steps() -> Iterator[int]:
        for number in range(100):
            began = time.monotonic()
            while time.monotonic() < began + 0.001:
                pass
            yield number

    async def look() -> list[int]:
        slices = Slices()
        other = asyncio.create_task(others())
        one, two = await asyncio.gather(slices.gather(steps()), slices.gather(steps()))
        other.cancel()
        assert one == two
        return one

    assert asyncio.run(look()) == list(range(1, 100))
    assert fair_queue >= 60  # a turn for each slice of 2 ms, whoever it was for
