# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures for tests of the whole daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.daemon import Daemon
from tests.support.records import Records
from tests.support.runner_unit import RunnerUnit


@pytest.fixture
def records() -> Records:
    """Return the journal from now on."""
    return Records()


@pytest.fixture
def runner(daemon: Daemon) -> Iterator[RunnerUnit]:
    """Return a runner of its own process, not started yet, beside `daemon`."""
    runner = RunnerUnit(daemon.directory)
    yield runner
    if daemon.process is not None and daemon.process.poll() is None:
        assert daemon.stop() == 0, daemon.said()
    if runner.process is not None and runner.process.poll() is None:
        assert runner.stop() == 0
