# SPDX-License-Identifier: LGPL-2.1-or-later
"""Launchers that stand still: stopped by their own hook, or looked at by an administrator."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from hookd.model import Result
from hookd.runner.launch import process
from tests.support.runner import Runner

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207  # ptrace(2)
WALL = 0x40000000  # waitpid(2): also for what one traces

_libc = ctypes.CDLL(None, use_errno=True)


def _ptrace(request: int, pid: int) -> None:
    if _libc.ptrace(ctypes.c_long(request), pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def traced(pid: int) -> Iterator[None]:
    """Hold a process as a tracer does."""
    _ptrace(PTRACE_SEIZE, pid)
    _ptrace(PTRACE_INTERRUPT, pid)
    os.waitpid(pid, WALL)
    assert process.status(pid).state == "t"
    yield
    _ptrace(PTRACE_DETACH, pid)


def begun(runner: Runner, hook: str) -> tuple[int, psutil.Process]:
    """Begin a run; return its number and its launcher."""
    before = {launcher.pid for launcher in runner.launchers()}
    run_id = runner.begin(hook)
    runner.until_started(run_id)
    [launcher] = [one for one in runner.launchers() if one.pid not in before]
    return run_id, launcher


@pytest.mark.skipif(os.geteuid() != 0, reason="only root traces a launcher")
def test_a_traced_launcher_is_left_alone_and_a_stopped_one_is_not(runner: Runner) -> None:
    fifo = runner.directory / "fifo"
    os.mkfifo(fifo)
    program = runner.script("waits", f"read _ <{fifo}\n")
    # With a limit on memory the watch looks again after some milliseconds.
    runner.hook("waits", f'command = "{program}"\n[limits]\nmemory = "1G"\n')
    runner.reload()
    first, launcher = begun(runner, "waits")
    with traced(launcher.pid):
        second, other = begun(runner, "waits")
        other.send_signal(signal.SIGSTOP)
        assert runner.until_ended(second).result is Result.SIGNALLED
        # As the watch has come to that one, it has seen the first meanwhile.
        assert launcher.is_running()
        assert launcher.status() == psutil.STATUS_TRACING_STOP
    fifo.write_text("go on\n")
    assert runner.until_ended(first).result is Result.SUCCESS
