# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures hookd beside its peers and prints the table: `benchmarks/run` starts it."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import psutil

from benchmarks import machine, table
from benchmarks.bench import Bench, Skipped, progress
from benchmarks.figures import Line

TREE = Path(__file__).resolve().parent.parent
ROWS = (
    "runs", "answers", "latency", "fairness", "weight", "start", "growth", "payload", "ways",
)  # fmt: skip
"""Each is a module beside this file, with a function `measure`."""
TOO_BUSY = 20.0  # percent of the CPUs
QUIET_SEC = 1.0  # before each row, in which nothing of ours runs: whoever works then disturbs


def main() -> None:
    """Measure what was asked for; exit status 1: a row failed."""
    asked = _arguments()
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="hookd-", dir=asked.directory) as scratch:
        Path(scratch).chmod(0o755)
        bench = Bench(asked.rounds, asked.quick, Path(scratch))
        found = Found(machine.description(bench))
        for row in asked.rows or ROWS:
            found.add(row, bench)
    print("\n".join(["", found.about(), "", table.aligned(found.lines)]))
    if found.failed:
        sys.exit(f"failed: {', '.join(found.failed)}")
    if asked.write:
        whole = f"{found.about()}\n\n{table.whole(found.lines)}"
        table.replace(TREE / "benchmarks/README.md", whole)
        table.replace(TREE / "README.md", table.front_page(found.lines))


class Found:
    """What was measured on this machine."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.lines: list[Line] = []
        self.failed: list[str] = []
        self._busy: list[float] = []

    def add(self, row: str, bench: Bench) -> None:
        """Measure one row. One that fails takes nothing from the others: they took minutes."""
        self._busy.append(psutil.cpu_percent(QUIET_SEC))
        progress(f"{row}: before it {self._busy[-1]:.0f} % of the CPUs were busy")
        began = time.monotonic()
        try:
            measure: Callable[[Bench], list[Line]] = import_module(f"benchmarks.{row}").measure
            self.lines += measure(bench)
        except Skipped as e:
            self.notes.append(f"{row}: not measured: {e}")
        except Exception:
            traceback.print_exc()
            self.failed.append(row)
        progress(f"{row}: {time.monotonic() - began:.0f} s")

    def about(self) -> str:
        """Return what to know beside the figures, as a list."""
        least, most = min(self._busy), max(self._busy)
        busy = f"busy with other things before each row: {least:.0f}–{most:.0f} % of the CPUs"
        if most > TOO_BUSY:
            busy += ", TOO BUSY: the figures say little"
        return "\n".join(f"- {note}" for note in [*self.notes, busy])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run", description="Measure hookd.")
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"all, or some of {', '.join(ROWS)}"
    )
    parser.add_argument("--rounds", type=int, help="how often each is measured: 5, quick 3")
    parser.add_argument("--quick", action="store_true", help="shorter: to see that all works")
    parser.add_argument("--write", action="store_true", help="into README.md and benchmarks/")
    parser.add_argument(
        "--directory", type=Path, default=Path("/var/tmp"), help="on which disk; /var/tmp"
    )
    asked = parser.parse_args()
    if unknown := set(asked.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}: there are {', '.join(ROWS)}")
    if asked.write and (asked.rows or asked.quick):
        parser.error("--write takes a whole table: neither some rows nor --quick")
    asked.rounds = asked.rounds or (3 if asked.quick else 5)
    return asked


if __name__ == "__main__":
    main()
