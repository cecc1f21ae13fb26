#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How fast the runner alone starts hooks, beside the floor: `spawn.py [RUNS]`, for work on it.

Prints finished /bin/true a second with 1, 16 and 64 in flight: with user, limits, two pipes, stdin
and both journal records each. Rounds are interleaved; medians.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.bench import Bench
from benchmarks.peers import spawns
from hookd.link import Settled, Start
from tests.support.runner import Runner, event

HOOK = 'command = "/bin/true $JOB_ID"\n[limits]\nopen_files = 64\ncpu_time = "10s"\n'
IN_FLIGHT = (1, 16, 64)


def in_runner(runner: Runner, at_a_time: int, runs: int) -> float:
    """Have the runner do so many runs, so many at a time; return runs a second."""
    first, begun, began = len(runner.ended), 0, time.perf_counter()
    while (done := len(runner.ended) - first) < runs:
        wanted = min(at_a_time - (begun - done), runs - begun)
        if wanted > 0:
            ids = range(first + begun + 1, first + begun + 1 + wanted)
            runner.send(*(Start(run_id, "true", 1, event()) for run_id in ids))
            begun += wanted
        before = set(runner.ended)
        runner.until_more_ended()
        runner.send(Settled(list(set(runner.ended) - before)))
    return runs / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as directory, Runner(Path(directory)) as runner:
        bench = Bench(rounds=5, quick=False, scratch=Path(directory))
        runner.hook("true", HOOK)
        runner.reload()
        works: dict[str, Callable[[], float]] = {
            "posix_spawn, all CPUs": partial(spawns, ["/bin/true"], bench.seconds)
        }
        for many in IN_FLIGHT:
            works[f"hookd-runner, {many} at a time"] = partial(in_runner, runner, many, runs)
        found = bench.interleaved(works, "/s")
    floor = found["posix_spawn, all CPUs"]
    for name, rates in found.items():
        print(f"{name:28}{rates}, {rates.over(floor)} of the floor")


if __name__ == "__main__":
    main()
