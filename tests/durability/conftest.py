# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon that the tests of a file share, each with hooks and settings of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.durability.hooks import own_hooks
from tests.support.daemon import Daemon


@pytest.fixture(scope="module")
def started(shared: Daemon) -> Daemon:
    """Return a daemon that has been started, for `common` to give to one test after the other."""
    shared.start()
    return shared


@pytest.fixture
def common(started: Daemon) -> Iterator[Daemon]:
    """Return the daemon that tests of a file share: what a test gives it goes with the test."""
    with own_hooks(started):
        yield started
