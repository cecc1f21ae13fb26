# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every row is given: how long, where, and the interleaving of those who are measured."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Series


class Skipped(Exception):
    """A row cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Bench:
    """One run of the benchmarks. `quick`: shorter and coarser, to see whether all of it works."""

    rounds: int
    quick: bool
    scratch: Path

    @property
    def seconds(self) -> float:
        """How long one load lasts, after its warm-up."""
        return 0.7 if self.quick else 2.0

    def directory(self, name: str) -> Path:
        """Return a new directory on the disk that is measured; its path is short (unix(7))."""
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.scratch))
        path.chmod(0o755)
        return path

    def build(self, name: str) -> Path:
        """Return a program made of the C file of this name, static: it starts in no time."""
        program = self.scratch / name
        if not program.exists():
            source = Path(__file__).with_name(f"{name}.c")
            subprocess.run(["gcc", "-O2", "-static", "-o", program, source], check=True)
        return program

    def interleaved(
        self, contestants: Mapping[str, Callable[[], float]], unit: str
    ) -> dict[str, Series]:
        """Measure one after the other, round after round; every second round backwards."""
        found: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(self.rounds):
            order = list(contestants)
            for name in order[:: -1 if number % 2 else 1]:
                found[name].append(contestants[name]())
                progress(f"round {number + 1}: {name}: {found[name][-1]:.4g} {unit}")
        return {name: Series(tuple(values), unit) for name, values in found.items()}


def progress(text: str) -> None:
    """Say what goes on, beside the table."""
    print(f"  {text}", file=sys.stderr, flush=True)
