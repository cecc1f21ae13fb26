# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long the fuzzers go on, two of them at a time, and the table of what they did."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

TREE = Path(__file__).parents[2]
CORPUS = Path(__file__).with_name("corpus")
TARGETS = sorted(directory.name for directory in CORPUS.iterdir())
SECONDS = int(os.environ.get("SECONDS", "60"))  # for each target
AT_A_TIME = 2
MISSING = "No module named 'atheris'"

LIBFUZZER = [
    f"-max_total_time={SECONDS}",
    "-max_len=4096",  # bytes of an input
    "-timeout=10",  # seconds for one input: more is a finding
    "-rss_limit_mb=512",
    "-print_final_stats=1",
    "-verbosity=1",
]

_rows: list[tuple[str, ...]] = []


class Campaign(msgspec.Struct):
    """What came of fuzzing a target: all that was said, and the input that broke it, if any."""

    target: str
    said: str
    broken_by: bytes | None

    def row(self) -> tuple[str, ...]:
        """Return the line of the table."""
        done = re.findall(r"DONE +cov: (\d+) ft: (\d+) corp: (\d+)/", self.said)
        units = re.findall(r"number_of_executed_units: (\d+)", self.said)
        return (self.target, *(units or ["-"]), *(done[0] if done else "---"))


def fuzz(target: str) -> Campaign:
    """Fuzz a target for SECONDS, beginning with its corpus, or until something is found."""
    with tempfile.TemporaryDirectory(prefix="hookd-fuzz-") as directory:
        (work := Path(directory, "work")).mkdir()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.fuzzer", target, *LIBFUZZER),
                *(f"-artifact_prefix={directory}/", work, CORPUS / target),
            ],
            cwd=TREE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS + 60,
        )
        found = [path.read_bytes() for path in Path(directory).iterdir() if path.is_file()]
    said = done.stdout.decode(errors="backslashreplace")
    if done.returncode and not found and MISSING not in said:
        found = [b""]  # it broke before the first input
    return Campaign(target, said, found[0] if found else None)


@pytest.fixture(scope="session")
def campaigns() -> dict[str, Campaign]:
    """Run all fuzzers; return what came of each."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        ended = list(pool.map(fuzz, TARGETS))
    _rows.extend(campaign.row() for campaign in ended)
    return {campaign.target: campaign for campaign in ended}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each fuzzer did."""
    if _rows:
        head = ("target", "inputs", "lines", "features", "corpus")
        widths = [max(len(row[n]) for row in [head, *_rows]) for n in range(len(head))]
        terminalreporter.section(f"fuzzing, {SECONDS} s each")
        for row in [head, *_rows]:
            cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            terminalreporter.write_line("  ".join(cells))
