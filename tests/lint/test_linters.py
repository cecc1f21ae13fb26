# SPDX-License-Identifier: LGPL-2.1-or-later
"""The linters, each on all that it understands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lint.tree import FOLDERS, TREE, files, name

PYTHON = [folder for folder in FOLDERS if any((TREE / folder).rglob("*.py"))]
MAKERS = [name(path) for path in files() if path.parent == TREE / "packaging"]
TYPED = [
    *(folder for folder in PYTHON if folder != "packaging"),  # whose examples stand alone
    *(maker for maker in MAKERS if maker.endswith(".py")),
]
MISSPELT_ON_PURPOSE = "comand,commmand,deamon,strat"
PIP = "make setup, or pip install -e '.[test]'"
OF_SCDOC = "skipping paragraph macro"  # what scdoc writes and mandoc does not like
YOUNGER = ("ignoring: notify-reload", "Unknown key 'ReloadSignal'")  # than systemd 253


def found(tool: str, install: str) -> str:
    """Return the path of a tool of the same environment, or of the system."""
    path = shutil.which(tool, path=str(Path(sys.executable).parent)) or shutil.which(tool)
    if path is None:
        pytest.fail(f"{tool} is missing: {install}")
    return path


def ran(*command: str) -> tuple[int, str]:
    """Return the exit status of a command, and all that it says."""
    done = subprocess.run(
        command,
        cwd=TREE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def run(tool: str, *arguments: str, install: str) -> None:
    """Run a tool; fail with all that it says."""
    status, said = ran(found(tool, install), *arguments)
    assert status == 0, said


def shell_scripts() -> list[str]:
    """Return the files whose first line names a shell."""
    scripts = []
    for path in files():
        with path.open("rb") as file:
            first = file.readline(100)
        if first.startswith(b"#!") and first.rstrip().endswith((b"sh", b"sh -eu")):
            scripts.append(name(path))
    return scripts


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


def test_man_pages(tmp_path: Path) -> None:
    found("scdoc", "apt install scdoc")
    status, said = ran(sys.executable, "packaging/generate.py", str(tmp_path))
    assert status == 0, said
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is missing, so only scdoc has read the man pages: apt install mandoc")
    pages = [
        str(page)
        for page in (tmp_path / "man").iterdir()
        if not page.read_text().startswith(".so")
    ]
    assert len(pages) > 3
    _, said = ran("mandoc", "-T", "lint", "-W", "warning", *pages)
    assert [line for line in said.splitlines() if OF_SCDOC not in line] == []


def test_units(tmp_path: Path) -> None:
    """As they are, but for the programs: systemd wants to see those that are to be run."""
    analyze = found("systemd-analyze", "apt install systemd")
    units = [path for path in files() if path.suffix in (".service", ".socket", ".timer")]
    programs = str(Path(sys.executable).parent)
    for unit in units:
        text = unit.read_text().replace("/usr/bin/hook", f"{programs}/hook")
        (tmp_path / unit.name).write_text(
            re.sub(r"(?m)^(Exec.*=)/usr/bin/\w+", r"\1/bin/sh", text)
        )
    checked = sorted(str(tmp_path / unit.name) for unit in units)
    assert len(checked) > 5
    _, said = ran(analyze, "verify", "--man=no", *checked)
    old = int(ran(analyze, "--version")[1].split()[1]) < 253
    wrong = [line for line in said.splitlines() if not (old and _young(line))]
    assert wrong == []


def _young(line: str) -> bool:
    return any(sign in line for sign in YOUNGER)
