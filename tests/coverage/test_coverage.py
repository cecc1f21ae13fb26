# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much of hookd the default tier reaches: in this process, the daemons and the commands.

Not seen: a process that is killed takes what it knows with it, and the launcher is C.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).parents[2]
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text())
DECISIONS = PROJECT["tool"]["mutmut"]["only_mutate"]  # the files that mutation tests change too
BESIDE_JOURNAL = TREE / "tests" / "support" / "with-journal"  # as tests/run has it
LOOKS_AT_IMPORTS = (  # of which coverage.py has its own, in every process
    "tests/cli/test_exit_codes.py::test_a_plain_start_imports_nothing_that_it_does_not_need"
)
PACKAGE_PERCENT = 95.0
SLOW = (
    "system", "hostile", "crash", "faults", "fuzz", "attack", "soak", "load", "sanitize",
    "coverage",
)  # fmt: skip

pytestmark = [pytest.mark.coverage, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[str, Any]]:
    """Return what coverage.py reports of one run of the default tier."""
    with tempfile.TemporaryDirectory(prefix="hookd-") as directory:
        Path(directory).chmod(0o1777)  # daemons of other users leave their share too
        env = os.environ | {"COVERAGE_FILE": f"{directory}/data"}
        del env["TMPDIR"]  # in one below ours the paths of sockets were too long

        def coverage(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "coverage", *arguments]
            return subprocess.run(
                command,
                cwd=TREE,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )

        tier = " and ".join(f"not {marker}" for marker in SLOW)
        side_by_side = f"--tx={os.cpu_count()}*popen//python={BESIDE_JOURNAL} {sys.executable}"
        pytest_ = ("-m", "pytest", "-q", "--dist=worksteal", side_by_side, "-m", tier)
        done = coverage("run", *pytest_, f"--deselect={LOOKS_AT_IMPORTS}", "tests")
        coverage("combine", "--quiet")
        print(coverage("report", "--skip-covered", "--show-missing").stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        coverage("json", "-o", f"{directory}/json")
        yield json.loads(Path(directory, "json").read_text())


def percent(of: dict[str, Any]) -> float:
    """Return the share of statements and branches that were reached."""
    return float(of["summary" if "summary" in of else "totals"]["percent_covered"])


def test_of_the_package_nearly_all_is_reached(measured: dict[str, Any]) -> None:
    assert percent(measured) >= PACKAGE_PERCENT


@pytest.mark.parametrize("file", DECISIONS)
def test_of_what_decides_every_branch_is_reached(measured: dict[str, Any], file: str) -> None:
    found = measured["files"][file]
    assert found["missing_lines"] == []
    assert found["missing_branches"] == []
