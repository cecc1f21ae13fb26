# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fairness: a thousand runs of one hook are queued and run; then one run of another is asked for.

The thousand are held at a named pipe until all are there, and then run as fast as they can, with
all the slots that one hook may have by default: half of them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.figures import Line, at_most
from benchmarks.latency import Marks
from benchmarks.load import Varlink, start_job
from benchmarks.subject import hook, hookd
from tests.support.eventually import eventually
from tests.support.wire import Wire

QUEUED = 1000
UNDER_WAY = 0.1  # seconds after the release


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the row."""
    directory = bench.directory("gate")
    gate = directory / "gate"
    os.mkfifo(gate)
    gate.chmod(0o644)
    many = directory / "many"
    many.write_text(f"#!/bin/sh\n: <{gate}\necho done\n")
    many.chmod(0o755)
    marks = Marks(bench.directory("marks"))
    hooks = {
        "many": hook(str(many), "many").replace("max_running = 64\n", ""),
        "single": hook(f"{bench.build('first')} {marks.path} $CLIENT_BUILD_NO", "single"),
    }
    with hookd(bench, hooks) as daemon:
        found = bench.interleaved({"hookd": lambda: _single(daemon.socket, gate, marks)}, "ms")
    marks.close()
    what = f"one run beside {QUEUED:,} queued of another hook: send to first instruction"
    return [Line(what, found["hookd"], bar=at_most(20, "ms"))]


def _single(path: Path, gate: Path, marks: Marks) -> float:
    """Return the milliseconds until a single run begins while the others run."""
    talk = Varlink(path, wait=False, ends=False)
    with Wire(path) as wire, talk.connect() as sock:
        for _ in range(QUEUED):
            wire.start(profile="many")
        release = os.open(gate, os.O_RDWR)
        time.sleep(UNDER_WAY)
        waiting = wire.status()["waiting"]
        assert waiting > QUEUED // 4, f"only {waiting} wait: the single run would prove nothing"
        sent = time.monotonic_ns()
        sock.sendall(start_job("single", 1))
        (ran,) = marks.take(1).values()
        eventually(lambda: wire.status()["waiting"] + wire.status()["running"] == 0, 60)
        os.close(release)
    return (ran - sent) / 1e6
