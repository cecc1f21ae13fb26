# SPDX-License-Identifier: LGPL-2.1-or-later
"""Latency: from the send of a StartJob to its hook's first instruction, beside a bare start.

The hook is a static program that reads the clock first. Requests leave at fixed times, whether
the one before was answered or not: what waits for another waits in the figure too.
"""

from __future__ import annotations

import os
import select
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.figures import Line, Series, at_most
from benchmarks.load import Varlink, start_job
from benchmarks.subject import hook, hookd

PACES = {"idle": 0.05, "100 jobs a second": 0.01}
"""Seconds from one request to the next; after 50 ms every process sleeps again."""
CONNECTIONS = 8  # one call at a time goes over each
MARK = struct.Struct("=qq")
LAST_WITHIN = 5.0  # seconds until every program that was asked for has run


class Marks:
    """Where programs say when their first instruction was; a context manager."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "marks"
        os.mkfifo(self.path)
        self.path.chmod(0o666)
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def take(self, count: int) -> dict[int, int]:
        """Return the nanosecond of each of so many programs, by its number."""
        found: dict[int, int] = {}
        while len(found) < count:
            ready, _, _ = select.select([self._fd], [], [], LAST_WITHIN)
            assert ready, f"{count - len(found)} programs never ran"
            found.update(MARK.iter_unpack(os.read(self._fd, 4096 // MARK.size * MARK.size)))
        return found

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self._fd)


class Delays:
    """Measures round after round and keeps every delay, for the percentiles."""

    def __init__(self, measure: Callable[[], list[float]]) -> None:
        self._measure = measure
        self._rounds: list[list[float]] = []

    def __call__(self) -> float:
        """Measure one round; return its median."""
        self._rounds.append(sorted(self._measure()))
        return statistics.median(self._rounds[-1])

    def percentile(self, percent: int) -> Series:
        """Return a percentile of each round."""
        return Series(tuple(each[len(each) * percent // 100] for each in self._rounds), "ms")


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the row."""
    program = bench.build("first")
    marks = Marks(bench.directory("marks"))
    command = f"{program} {marks.path} $CLIENT_BUILD_NO"
    lines = []
    with hookd(bench, {"first": hook(command, "nightly")}) as daemon:
        talk = Varlink(daemon.socket, wait=False, ends=False)
        for pace, interval in PACES.items():
            count = int((1.5 if bench.quick else 4) / interval)
            ours = Delays(partial(_hookd, talk, marks, count, interval))
            bare = Delays(partial(_bare, program, marks, count, interval))
            bench.interleaved({f"{pace}, hookd": ours, f"{pace}, bare": bare}, "ms")
            lines += _lines(pace, ours, bare)
    marks.close()
    return lines


def _lines(pace: str, ours: Delays, bare: Delays) -> list[Line]:
    what = f"send to first instruction, {pace}"
    p99_bar = None if pace == "idle" else at_most(5)
    return [
        Line(
            f"{what}, median", ours.percentile(50), "posix_spawn", bare.percentile(50), at_most(2)
        ),
        Line(f"{what}, p99", ours.percentile(99), "posix_spawn", bare.percentile(99), p99_bar),
    ]


def _hookd(talk: Varlink, marks: Marks, count: int, interval: float) -> list[float]:
    """Return the milliseconds from each send to the hook's first instruction."""
    socks = [talk.connect() for _ in range(CONNECTIONS)]
    sent, due = [], time.monotonic()
    for number in range(count):
        due += interval
        time.sleep(max(0.0, due - time.monotonic()))
        sock = socks[number % CONNECTIONS]
        if number >= CONNECTIONS:
            sock.recv(65536)  # the answer to its last call, long here
        call = start_job(build_no=number)
        sent.append(time.monotonic_ns())
        sock.sendall(call)
    ran = marks.take(count)
    for sock in socks:
        sock.close()
    return [(ran[number] - sent[number]) / 1e6 for number in range(count)]


def _bare(program: Path, marks: Marks, count: int, interval: float) -> list[float]:
    """Return the milliseconds from each posix_spawn(3) to the program's first instruction."""
    bare = Path(__file__).with_name("bare.py")
    done = subprocess.run(
        [sys.executable, "-I", "-S", bare, program, marks.path, str(count), str(interval)],
        stdout=subprocess.PIPE,
        check=True,
    )
    ran = marks.take(count)
    sent = [int(word) for word in done.stdout.split()]
    return [(ran[number] - sent[number]) / 1e6 for number in range(count)]
