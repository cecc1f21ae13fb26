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


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the row."""
    program = bench.build("first")
    marks = Marks(bench.directory("marks"))
    command = f"{program} {marks.path} $CLIENT_BUILD_NO"
    figures: dict[tuple[str, str], list[list[float]]] = {}
    with hookd(bench, {"first": hook(command, "nightly")}) as daemon:
        talk = Varlink(daemon.socket, wait=False, ends=False)
        for pace, interval in PACES.items():
            count = int((2 if bench.quick else 5) / interval)
            ours: list[list[float]] = figures.setdefault((pace, "hookd"), [])
            bare: list[list[float]] = figures.setdefault((pace, "bare"), [])
            bench.interleaved(
                {
                    f"{pace}, hookd": partial(_kept, ours, _hookd, talk, marks, count, interval),
                    f"{pace}, bare": partial(_kept, bare, _bare, program, marks, count, interval),
                },
                "ms",
            )
    marks.close()
    return [line for pace in PACES for line in _lines(figures, pace)]


def _kept(kept: list[list[float]], way, *arguments: object) -> float:  # type: ignore[no-untyped-def]
    """Measure one round, keep all of it, return its median."""
    kept.append(way(*arguments))
    return statistics.median(kept[-1])


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


def _lines(figures: dict[tuple[str, str], list[list[float]]], pace: str) -> list[Line]:
    lines = []
    for name, percent in (("median", 50), ("99th percentile", 99)):
        ours, bare = (
            Series(tuple(_percentile(each, percent) for each in figures[pace, who]), "ms")
            for who in ("hookd", "bare")
        )
        bar = at_most(2) if percent == 50 else at_most(5) if pace != "idle" else None
        what = f"send to first instruction, {pace}, {name}"
        lines.append(Line(what, ours, "posix_spawn", bare, bar))
    return lines


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]
