# SPDX-License-Identifier: LGPL-2.1-or-later
"""Start: how long until the processes are ready, and how long a whole `hookctl start` takes.

Beside the same interpreter with nothing to do but an import, and with nothing to do at all.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from benchmarks.bench import Bench
from benchmarks.figures import Line, at_most
from benchmarks.subject import SETTINGS, hook, running
from tests.support.daemon import BIN, Daemon
from tests.support.runner_unit import RunnerUnit

REPEATS = 5  # of each short thing in a round, of which the median counts


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the row."""
    directory = bench.directory("hookd")
    daemon = Daemon(directory, SETTINGS)
    daemon.hook("true", hook("/bin/true", "nightly"))
    runner = RunnerUnit(directory)
    beside = RunnerUnit(bench.directory("runner"))
    (beside.directory / "hookd.toml").touch()
    submitted = Daemon(bench.directory("submitted"), SETTINGS)
    start = [str(BIN / "hookctl"), "--socket", str(submitted.socket), "start"]
    start += ["--profile=nightly", "--user=ann@example.com", "--client-ip=192.0.2.7"]
    runner.start()
    try:
        with running(submitted, {}):
            found = bench.interleaved(
                {
                    "hookd": lambda: _ready(partial(daemon.start, *runner.arguments), daemon.stop),
                    "runner": lambda: _ready(beside.start, beside.stop),
                    "asyncio": lambda: _whole([sys.executable, "-c", "import asyncio"]),
                    "hookctl": lambda: _whole(start),
                    "pass": lambda: _whole([sys.executable, "-c", "pass"]),
                },
                "ms",
            )
    finally:
        runner.stop()
    asyncio, nothing = found["asyncio"], found["pass"]
    return [
        Line("hookd, exec to READY", found["hookd"], "import asyncio", asyncio, at_most(3)),
        Line(
            "hookd-runner, exec to READY", found["runner"], "import asyncio", asyncio, at_most(3)
        ),
        Line("hookctl start, whole", found["hookctl"], "python3 -c pass", nothing, at_most(5)),
    ]


def _ready(start: Callable[[], None], stop: Callable[[], int]) -> float:
    """Return the milliseconds until a service says that it is ready."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        start()
        times.append(time.perf_counter() - began)
        stop()
    return statistics.median(times) * 1000


def _whole(command: list[str]) -> float:
    """Return the milliseconds that a command takes."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000
