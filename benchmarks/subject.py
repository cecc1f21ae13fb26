# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookd as it is measured: in a directory of its own, with the limits that every hook has here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from tests.support.daemon import Daemon

SETTINGS = "[daemon]\nmax_running = 64\n"
USER = "nobody" if os.geteuid() == 0 else ""
"""Whom hooks run as: another than hookd, where that can be."""


def hook(command: str, profile: str, phases: str = '["start"]', limits: str = "") -> str:
    """Return a hook's file: run for this profile, as another user, under limits."""
    return f"""
command = "{command}"
phases = {phases}
[match]
profile = ["{profile}"]
[run]
max_running = 64
{f'user = "{USER}"' if USER else ""}
[limits]
open_files = 256
processes = 64
cpu_time = "1min"
{limits}
"""


@contextmanager
def hookd(bench: Bench, hooks: dict[str, str], *arguments: str) -> Iterator[Daemon]:
    """Run a hookd with these hooks."""
    daemon = Daemon(bench.directory("hookd"), SETTINGS)
    with running(daemon, hooks, *arguments):
        yield daemon


@contextmanager
def running(daemon: Daemon, hooks: dict[str, str], *arguments: str) -> Iterator[None]:
    """Run a daemon that has been prepared; its state directory may have a database already."""
    for name, text in hooks.items():
        daemon.hook(name, text)
    daemon.start(*arguments)
    try:
        yield
    finally:
        daemon.stop()


def script(directory: Path) -> Path:
    """Write the hook of three lines that stands for all that people write."""
    path = directory / "three-lines"
    path.write_text('#!/bin/sh\nprofile=$1\necho "started: $profile"\n')
    path.chmod(0o755)
    return path
