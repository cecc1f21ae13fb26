# SPDX-License-Identifier: LGPL-2.1-or-later
"""A runner to start hooks in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runner import Runner


@pytest.fixture
def runner(scratch: Path) -> Iterator[Runner]:
    """Return a runner that serves the test, as the test's own user."""
    with Runner(scratch) as runner:
        yield runner
