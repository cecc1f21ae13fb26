# SPDX-License-Identifier: LGPL-2.1-or-later
"""Payload: what a hook prints on its way to the journal, beside systemd-cat and a bare reader.

The time ends when journald has taken in everything (`journalctl --sync`), for both.
"""

from __future__ import annotations

import os
import subprocess
import time
from functools import partial

from benchmarks.bench import Bench, Skipped
from benchmarks.figures import Line, at_least
from benchmarks.machine import journal_listens
from benchmarks.subject import hook, hookd
from tests.support.wire import Wire

MB = 1_000_000
KINDS = ((100, 1000), (10, 100))
"""Megabytes, and bytes of each line: as many lines of either kind."""


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the row. Raises Skipped without a journal."""
    if not journal_listens():
        raise Skipped("no journal listens here")
    program = bench.build("flood")
    kinds = [(size // 10 if bench.quick else size, line) for size, line in KINDS]
    hooks, commands = {}, {}
    for size, line in kinds:
        commands[line] = [str(program), str(size * MB), str(line)]
        hooks[f"flood{line}"] = hook(
            " ".join(commands[line]), str(line), limits='output = "200M"\ntimeout = "10min"'
        )
    lines = []
    with hookd(bench, hooks) as daemon, Wire(daemon.socket, timeout=600) as wire:
        for size, line in kinds:
            found = bench.interleaved(
                {
                    "hookd": partial(_hookd, wire, line, size),
                    "systemd-cat": partial(_systemd_cat, commands[line], size),
                    "bare pipe": partial(_bare, commands[line], size),
                },
                "MB/s",
            )
            what = f"{size} MB of output in lines of {line:,} bytes"
            ours = found["hookd"]
            cat, bare = found["systemd-cat"], found["bare pipe"]
            lines.append(Line(what, ours, "systemd-cat", cat, at_least(1)))
            lines.append(Line(what, ours, "a bare pipe reader", bare))
    return lines


def _hookd(wire: Wire, line: int, size: int) -> float:
    began = time.perf_counter()
    (run,) = wire.start(profile=str(line), wait=True)["hooks"]
    _sync()
    elapsed = time.perf_counter() - began
    assert (run["output_bytes"], run["output_dropped"]) == (size * MB, 0), run
    return size / elapsed


def _systemd_cat(command: list[str], size: int) -> float:
    began = time.perf_counter()
    subprocess.run(["systemd-cat", *command], check=True)
    _sync()
    return size / (time.perf_counter() - began)


def _sync() -> None:
    subprocess.run(["journalctl", "--sync"], check=True)


def _bare(command: list[str], size: int) -> float:
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        left = size * MB
        while data := os.read(process.stdout.fileno(), 65536):
            left -= len(data)
    assert left == 0
    return size / (time.perf_counter() - began)
