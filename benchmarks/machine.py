# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the figures were measured on: stands above every table."""

from __future__ import annotations

import os
import platform
import re
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.bench import Bench

JOURNAL = "/run/systemd/journal/socket"


def description(bench: Bench) -> list[str]:
    """Return notes about the machine, the programs and the method."""
    cpu = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    journal = "a real journald" if journal_listens() else "none: records go to a file"
    commit = _said("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    return [
        f"{time.strftime('%Y-%m-%d')}, commit {commit}, {_user()}",
        f"medians of {bench.rounds} rounds",
        f"{len(os.sched_getaffinity(0))} CPUs ({cpu[1] if cpu else platform.machine()}), "
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"webhook {_said('webhook', '-version').removeprefix('webhook version ')}",
        f"state on {file_system(bench.scratch)}; journal: {journal}",
    ]


def journal_listens() -> bool:
    """Return whether somebody takes records."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return sock.connect_ex(JOURNAL) == 0


def file_system(path: Path) -> str:
    """Return the type of the file system that a path lies on."""
    mounts = [p for p in psutil.disk_partitions(all=True) if path.is_relative_to(p.mountpoint)]
    found = max(mounts, key=lambda mount: len(mount.mountpoint)).fstype
    if found in ("tmpfs", "ramfs"):
        print(f"{path} is no disk but {found}: commits cost nothing there", file=sys.stderr)
    return found


def _user() -> str:
    return "as root" if os.geteuid() == 0 else "as an ordinary user"


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
