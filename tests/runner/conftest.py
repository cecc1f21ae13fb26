# SPDX-License-Identifier: LGPL-2.1-or-later
"""A runner to start hooks in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runner import Runner


@pytest.fixture
def runner(scratch: Path) -> Iterator[Runner]:
    """Return a runner that serves the test, as the test's own user."""
    with Runner(scratch) as runner:
        yield runner


@pytest.fixture(scope="module")
def shared_scratch(own_directory: None) -> Iterator[Path]:
    """Return a directory for all tests of a file."""
    directory = Path(tempfile.mkdtemp(prefix="hookd-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def shared_runner(shared_scratch: Path) -> Iterator[Runner]:
    """Return a runner for tests of a file that each define the hooks they run anew."""
    with Runner(shared_scratch) as runner:
        yield runner
