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

from benchmarks import machine, table
from benchmarks.bench import Bench, Skipped, progress
from benchmarks.figures import Line

TREE = Path(__file__).resolve().parent.parent
ROWS = (
    "runs", "answers", "latency", "fairness", "weight", "start", "growth", "payload", "ways",
)  # fmt: skip
"""Each is a module beside this file, with a function `measure`."""


def main() -> None:
    """Measure what was asked for."""
    asked = _arguments()
    os.umask(0o022)
    lines: list[Line] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hookd-", dir=asked.directory) as scratch:
        Path(scratch).chmod(0o755)
        bench = Bench(asked.rounds, asked.quick, Path(scratch))
        about = machine.description(bench.scratch) + f"\n- medians of {bench.rounds} rounds"
        print(about, flush=True)
        for row in asked.rows or ROWS:
            began = time.monotonic()
            progress(f"{row}:")
            try:
                measure: Callable[[Bench], list[Line]] = import_module(f"benchmarks.{row}").measure
                lines += measure(bench)
            except Skipped as e:
                notes.append(f"- {row}: not measured: {e}")
                progress(notes[-1])
            except Exception:  # the other rows took minutes: they are shown all the same
                traceback.print_exc()
                notes.append(f"- {row}: FAILED")
            progress(f"{row}: {time.monotonic() - began:.0f} s")
    about += f"\n- load at the end {os.getloadavg()[0]:.1f}, most of it our own"
    print(table.aligned(lines))
    if notes:
        print("\n".join(notes))
    if any(note.endswith("FAILED") for note in notes):
        sys.exit(1)
    if asked.write:
        about = "\n".join([about, *notes])
        table.replace(TREE / "README.md", table.ratios(lines))
        table.replace(TREE / "benchmarks/README.md", f"{about}\n\n{table.whole(lines)}")


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
