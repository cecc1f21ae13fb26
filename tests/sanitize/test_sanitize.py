# SPDX-License-Identifier: LGPL-2.1-or-later
"""The runner's tests with a launcher that AddressSanitizer and UBSan watch: they find nothing.

In a copy of the tree, since hookd starts no program but its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookd.runner.launch import abi
from tests.lint.tree import TREE, files, name
from tests.support.launcher import found

pytestmark = [pytest.mark.sanitize, pytest.mark.timeout(900)]

OF_ITS_SIZE = "not between_runs"  # the sanitizers' own files are open, too
NEEDED = ("hookd/", "tests/", "packaging/build-launcher", "pyproject.toml")


def compile_watched(program: Path) -> None:
    """Compile the launcher of a copy of the tree."""
    build = program.parents[3] / "packaging/build-launcher"
    subprocess.run([str(build), "--sanitize", str(program)], check=True)


@pytest.fixture
def copy() -> Iterator[Path]:
    """Return a copy of the tree whose launcher is watched."""
    with tempfile.TemporaryDirectory(prefix="hookd-") as directory:
        Path(directory).chmod(0o755)
        for path in files():
            if name(path).startswith(NEEDED):
                (Path(directory) / name(path)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, Path(directory) / name(path))
        program = Path(directory) / abi.PROGRAM.relative_to(TREE)
        compile_watched(program)
        program.parent.chmod(0o1777)  # whoever finds something writes it there
        yield Path(directory)


def runners_tests(copy: Path, chosen: str = OF_ITS_SIZE) -> subprocess.CompletedProcess[str]:
    """Run them there."""
    env = os.environ | {"PYTHONPATH": str(copy)}
    del env["TMPDIR"]  # in one below ours the paths of sockets were too long
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-k", chosen, "tests/runner")
    return subprocess.run(
        pytest_,
        cwd=copy,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_runners_tests_find_nothing(copy: Path) -> None:
    done = runners_tests(copy)
    assert found(copy / abi.PROGRAM.relative_to(TREE)) == []
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout


def test_they_would_find_an_overflow(copy: Path) -> None:
    """One word too many in a vector for one less: the kind of mistake that C allows."""
    program = copy / abi.PROGRAM.relative_to(TREE)
    source = program.with_name("launcher.c")
    text = source.read_text()
    assert text.count("words <= sizeof room") == 1
    source.write_text(text.replace("words <= sizeof room", "words <= 2 * sizeof room"))
    compile_watched(program)
    runners_tests(copy, "any_number_of_words")
    assert any("global-buffer-overflow" in report for report in found(program))
