#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How fast the runner starts hooks, beside what the kernel can do: `spawn.py [RUNS]`.

Prints finished /bin/true a second: one after the other by posix_spawn, the same on all CPUs (the
floor), subprocess with a user (a fork), and the runner with 1, 16 and 64 in flight: with user,
limits, two pipes, stdin and both journal records each. Rounds are interleaved; medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hookd.link import Settled, Start
from tests.support.runner import Runner, event

ROUNDS = 5
HOOK = 'command = "/bin/true $JOB_ID"\n[limits]\nopen_files = 64\ncpu_time = "10s"\n'


def posix_spawn(runs: int) -> None:
    """Run so many, one after the other."""
    for _ in range(runs):
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def on_all_cpus(runs: int) -> None:
    """Run so many, as many at a time as there are CPUs."""
    cpus = os.cpu_count() or 1
    children = []
    for _ in range(cpus):
        child = os.fork()
        if child == 0:
            posix_spawn(runs // cpus)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def with_user(runs: int) -> None:
    """Run so many by the standard library's way to another user, which forks."""
    for _ in range(runs):
        subprocess.run(["/bin/true"], user=os.geteuid(), check=True)


class InRunner:
    """So many at a time in a runner."""

    def __init__(self, runner: Runner, at_a_time: int) -> None:
        self.runner = runner
        self.at_a_time = at_a_time

    def __call__(self, runs: int) -> None:
        """Run so many."""
        runner, begun = self.runner, 0
        first = len(runner.ended)
        while (done := len(runner.ended) - first) < runs:
            wanted = min(self.at_a_time - (begun - done), runs - begun)
            if wanted > 0:
                ids = range(first + begun + 1, first + begun + 1 + wanted)
                runner.send(*(Start(run_id, "true", 1, event()) for run_id in ids))
                begun += wanted
            before = set(runner.ended)
            runner.until_more_ended()
            runner.send(Settled(list(set(runner.ended) - before)))


def rate(work: Callable[[int], None], runs: int) -> float:
    """Return runs a second."""
    began = time.perf_counter()
    work(runs)
    return runs / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as directory, Runner(Path(directory)) as runner:
        runner.hook("true", HOOK)
        runner.reload()
        works: dict[str, Callable[[int], None]] = {
            "posix_spawn, one CPU": posix_spawn,
            "posix_spawn, all CPUs": on_all_cpus,
            "subprocess with user": with_user,
            "hookd-runner, 1 at a time": InRunner(runner, 1),
            "hookd-runner, 16 at a time": InRunner(runner, 16),
            "hookd-runner, 64 at a time": InRunner(runner, 64),
        }
        rates: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(ROUNDS):
            for name, work in works.items():
                rates[name].append(rate(work, runs))
    floor = statistics.median(rates["posix_spawn, all CPUs"])
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"{name:28}{middle:7.0f}/s  {middle / floor:4.2f} of the floor")


if __name__ == "__main__":
    main()
