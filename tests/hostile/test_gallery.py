# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that harm: each ends as it should, in time, and leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

from hookd.model import Result
from hookd.runner.launch import cgroup
from tests.hostile.arena import SLOWNESS, Arena, Fight

pytestmark = pytest.mark.hostile

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], float]] = {
    # name: words, how it is entered, what its receipt says, in how many seconds
    "child holds stdout, exit 0": (
        "holds_stdout.sh 0", {}, {"result": "success", "exit_status": 0, "leftovers": 1}, 2,
    ),
    "child holds stdout, exit 1": (
        "holds_stdout.sh 1", {}, {"result": "failed", "exit_status": 1, "leftovers": 1}, 2,
    ),
    "setsid": ("escapes_by_setsid.sh", {}, {"result": "success", "leftovers": 1}, 2),
    "double fork": ("forks_twice.sh", {}, {"result": "success", "leftovers": 1}, 2),
    "forks every 10 ms": ("forks_again_and_again.py", {}, {"result": "success"}, 4),
    "ignores TERM": (
        "ignores_term.sh", {"timeout": "300ms"},
        {"result": "timeout", "signal": "SIGKILL"}, 3,
    ),
    "stops itself": (
        "stops_itself.sh", {"timeout": "300ms"},
        {"result": "timeout", "signal": "SIGTERM"}, 2,
    ),
    "stops its parent's group": (
        "stops_its_parent.sh", {}, {"result": "signalled", "signal": "SIGKILL"}, 5,
    ),
    "kills its parent": (
        "kills_its_parent.sh", {}, {"result": "signalled", "signal": "SIGKILL"}, 5,
    ),
    "fork bomb": (
        "fork_bomb.sh", {"limits": "processes = 32"},
        {"result": "limit", "limit": "processes"}, 5,
    ),
    "1 GB of memory": (
        "takes_memory.py", {"limits": 'memory = "64M"'}, {"result": "limit", "limit": "memory"}, 5,
    ),
    "memory in ten children": (
        "takes_memory_in_children.py", {"limits": 'memory = "100M"'},
        {"result": "limit", "limit": "memory"}, 5,
    ),
    "200 kB to stdout": (
        "prints_much.sh 200000", {},
        {"result": "success", "output_bytes": 200_000, "output_dropped": 0}, 3,
    ),
    "1 GB to stdout": (
        "prints_much.sh 1000000000", {},
        {"result": "success", "output_bytes": 10**9, "output_dropped": 10**9 - 2**20}, 15,
    ),
    "1 GB to stderr without newline": (
        "prints_one_line.sh 1000000000", {},
        {"result": "success", "output_bytes": 10**9, "output_dropped": 10**9 - 2**20}, 15,
    ),
    "binary output": (
        "prints_binary.sh", {},
        {"result": "success", "last_line": r"\xff\xfe no text \x1b[31m"}, 3,
    ),
    "closes 0 to 2": ("closes_everything.sh", {}, {"result": "success"}, 3),
    "reads stdin for ever": (
        "reads_for_ever.sh", {"timeout": "500ms"}, {"result": "timeout"}, 3,
    ),
    "empties its own pipe": ("empties_its_own_pipe.py", {}, {"result": "success"}, 3),
    "opens files to the limit": (
        "opens_files.py", {"limits": "open_files = 16"},
        {"result": "success", "last_line": "16"}, 3,
    ),
    "burns CPU": (
        "burns_cpu.sh", {"limits": 'cpu_time = "1s"'},
        {"result": "limit", "limit": "cpu_time", "signal": "SIGXCPU"}, 8,
    ),
    "SIGSEGV": ("dies_by.sh SEGV", {}, {"result": "signalled", "signal": "SIGSEGV"}, 2),
    "SIGABRT": ("dies_by.sh ABRT", {}, {"result": "signalled", "signal": "SIGABRT"}, 2),
    "SIGKILL": ("dies_by.sh KILL", {}, {"result": "signalled", "signal": "SIGKILL"}, 2),
    "200 zombies": ("leaves_zombies.py", {}, {"result": "success", "leftovers": 0}, 4),
    "another name, session and directory": (
        "changes_its_looks.py", {}, {"result": "success", "leftovers": 1}, 3,
    ),
    "removes itself": ("removes_itself.sh", {}, {"result": "success"}, 2),
    "its leader exits": (
        "its_leader_exits.py main 1", {"timeout": "1s"},
        {"result": "timeout", "signal": "SIGTERM", "leftovers": 0}, 5,
    ),
    "a leftover's leader exits": (
        "its_leader_exits.py leftover 1", {}, {"result": "success", "leftovers": 1}, 3,
    ),
    "300 MB behind a leader that exits": (
        "its_leader_exits.py main 300", {"limits": 'memory = "64M"'},
        {"result": "limit", "limit": "memory"}, 5,
    ),
    "hops": ("hops.py 40 left", {}, {"result": "success"}, 10),
    "hops, without its launcher": (
        "hops.py 40 orphaned", {}, {"result": "signalled", "signal": "SIGKILL"}, 10,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_harm(name: str, arena: Arena, fought: list[Fight]) -> None:
    words, entry, expected, seconds = CASES[name]
    arena.enter(*words.split(), **entry)
    fight = arena.fight()
    fought.append(fight)
    receipt = fight.receipt
    assert {key: getattr(receipt, key) for key in expected} == expected
    assert fight.seconds < seconds * SLOWNESS
    assert receipt.duration_usec / 1e6 <= fight.seconds
    orphaned = receipt.reason == "the launcher that it ran under was killed"
    nobody_knows = orphaned and cgroup.delegated() is None
    assert receipt.cpu_usec is None if nobody_knows else receipt.cpu_usec
    assert receipt.memory_peak != 0
    if receipt.limit == "memory":
        assert receipt.memory_peak is not None
        assert receipt.memory_peak > 63 << 20


def test_stdin_that_nobody_reads(arena: Arena, fought: list[Fight]) -> None:
    arena.enter("reads_nothing.sh")
    fight = arena.fight(profile="p" * 100_000)
    fought.append(fight)
    assert fight.receipt.result is Result.SUCCESS
    assert fight.seconds < 2 * SLOWNESS


def test_large_file(arena: Arena, fought: list[Fight]) -> None:
    arena.enter("writes_a_large_file.sh", str(arena.room), limits='file_size = "1M"')
    fight = arena.fight()
    fought.append(fight)
    assert (fight.receipt.result, fight.receipt.limit) == (Result.LIMIT, "file_size")
    assert (arena.room / "large").stat().st_size == 1 << 20


def test_the_end_at_the_very_moment_of_the_timeout(arena: Arena) -> None:
    arena.enter("ends_in_time_or_not.sh", timeout="53ms")
    runner, waiting, results = arena.runner, list[int](), []
    for _ in range(500):
        waiting.append(runner.begin("beast"))
        if len(waiting) >= 8:
            results.append(runner.until_ended(waiting.pop(0)).result)
    results += [runner.until_ended(run_id).result for run_id in waiting]
    assert len(results) == 500
    assert set(results) <= {Result.SUCCESS, Result.TIMEOUT}


def test_signals_to_hookd(arena: Arena, fought: list[Fight]) -> None:
    runner = arena.process
    above = [runner.pid, *(child.pid for child in runner.children())]
    arena.enter("signals_hookd.py", *map(str, above))
    fight = arena.fight()
    fought.append(fight)
    assert fight.receipt.result is Result.SUCCESS, fight.receipt


def test_ways_into_hookd(arena: Arena, fought: list[Fight]) -> None:
    runner = arena.process
    above = [runner.pid, *(child.pid for child in runner.children())]
    arena.enter("enters_hookd.py", *map(str, above))
    fight = arena.fight()
    fought.append(fight)
    assert fight.receipt.result is Result.SUCCESS, fight.receipt
