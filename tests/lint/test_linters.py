# SPDX-License-Identifier: LGPL-2.1-or-later
"""The linters, each on all that it understands."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
FOLDERS = [
    name
    for name in ("hookd", "tests", "benchmarks", "docs", "packaging", "systemd", ".ci")
    if (TREE / name).is_dir()
]
PYTHON = [name for name in FOLDERS if any((TREE / name).rglob("*.py"))]
TYPED = [name for name in PYTHON if name != "packaging"]  # examples for other programs' Pythons
MISSPELT_ON_PURPOSE = "comand,commmand,deamon,strat"
PIP = "make setup, or pip install -e '.[test]'"


def run(tool: str, *arguments: str, install: str) -> None:
    """Run a tool of the same environment, or of the system; fail with all that it says."""
    path = shutil.which(tool, path=str(Path(sys.executable).parent)) or shutil.which(tool)
    if path is None:
        pytest.fail(f"{tool} is missing: {install}")
    done = subprocess.run(
        [path, *arguments],
        cwd=TREE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def shell_scripts() -> list[str]:
    """Return the files whose first line names a shell, but those that are food for a fuzzer."""
    found = []
    for folder in FOLDERS:
        for path in sorted((TREE / folder).rglob("*")):
            if path.is_file() and not path.is_symlink() and "corpus" not in path.parts:
                with path.open("rb") as file:
                    first = file.readline(100)
                if first.startswith(b"#!") and first.rstrip().endswith((b"sh", b"sh -eu")):
                    found.append(str(path.relative_to(TREE)))
    return found


def test_ruff_check() -> None:
    run("ruff", "check", *PYTHON, install=PIP)


def test_ruff_format() -> None:
    run("ruff", "format", "--check", *PYTHON, install=PIP)


@pytest.mark.timeout(300)
def test_mypy() -> None:
    run("mypy", *TYPED, install=PIP)


def test_codespell() -> None:
    prose = [path.name for path in TREE.glob("*.md")]
    run("codespell", "--ignore-words-list", MISSPELT_ON_PURPOSE, *FOLDERS, *prose, install=PIP)


def test_shellcheck() -> None:
    scripts = shell_scripts()
    assert "tests/run" in scripts
    run("shellcheck", *scripts, install="apt install shellcheck")
