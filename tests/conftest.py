# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of all tiers: a directory with a short path, a daemon to talk to, what it says."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from systemd.journal import send

from tests.support import leftovers, reachable
from tests.support.daemon import Daemon
from tests.support.records import Records
from tests.support.runner_unit import RunnerUnit
from tests.support.stall import Stall


def pytest_configure() -> None:
    """Undo what who runs the tests hands down: a wide umask, and ignored signals.

    A shell without job control lets what it puts into the background ignore SIGINT, nohup(1) has
    it ignore SIGHUP, and programs started from there inherit that; a handler they do not inherit.
    """
    os.umask(0o022)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    send("the tests of hookd begin")  # libsystemd opens a socket for it, and keeps that for good
    leftovers.watch()


@pytest.fixture(scope="session", autouse=True)
def own_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have temporary directories made below one of this process's: others use the usual place."""
    usual = tempfile.gettempdir()
    tmp_path_factory.getbasetemp()  # pytest's own stays there
    with tempfile.TemporaryDirectory(prefix="hookd-") as directory:
        Path(directory).chmod(0o755)  # hooks of other users lie in it
        tempfile.tempdir = os.environ["TMPDIR"] = directory
        reachable.prepare(Path(directory))
        with leftovers.none_allowed():
            yield
        tempfile.tempdir = os.environ["TMPDIR"] = usual


@pytest.fixture(autouse=True)
def nothing_left(own_directory: None, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves a task, process, thread, descriptor or file behind.

    Not one of the system tier: its containers are shared by the tests of a file, and what runs in
    them goes with them, before the session's own look.
    """
    if request.node.get_closest_marker("system") is not None:
        yield
        return
    with leftovers.none_allowed():
        yield


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="hookd-"))
    yield directory
    shutil.rmtree(directory)


@contextlib.contextmanager
def _daemon(directory: Path) -> Iterator[Daemon]:
    daemon = Daemon(directory)
    yield daemon
    if daemon.process is not None and daemon.process.poll() is None:
        assert daemon.stop() == 0, daemon.said()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Return a directory of the test's own, short enough for a socket in it (unix(7))."""
    with _scratch() as directory:
        yield directory


@pytest.fixture
def daemon(scratch: Path) -> Iterator[Daemon]:
    """Return a daemon that is not started yet, so that the test can write its hooks first."""
    with _daemon(scratch) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def shared(own_directory: None) -> Iterator[Daemon]:
    """Return a daemon, not started yet, for tests of a file that do not disturb each other."""
    with _scratch() as directory, _daemon(directory) as daemon:
        yield daemon


@pytest.fixture
def stall(scratch: Path) -> Iterator[Stall]:
    """Return what makes paths hang for `daemon` and `runner`: start those after it."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system that does not answer")
    stall = Stall(scratch)
    yield stall
    stall.end()


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
