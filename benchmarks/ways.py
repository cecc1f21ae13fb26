# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other ways to have a program run: by systemd itself and by fail2ban, in a booted container.

There `ways_inside` runs, with hookd from this tree beside them.
"""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

from benchmarks.bench import Bench, Skipped, progress
from benchmarks.figures import Line, Series
from tests.support.box import Box
from tests.support.machine import TREE, CannotBoot, debian

PACKAGES = (
    "dbus", "fail2ban", "python3", "python3-click", "python3-msgspec", "python3-prometheus-client",
    "python3-psutil", "python3-rich", "python3-sdnotify", "python3-systemd", "systemd",
    "systemd-sysv",
)  # fmt: skip


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the row. Raises Skipped where no container can be booted."""
    if os.geteuid() != 0:
        raise Skipped("a container with systemd wants root")
    try:
        root = debian("trixie", PACKAGES)
        with Box(root) as box:
            box.copy(_tree(bench.directory("tree")), "/tree.tar")
            box.run("mkdir /tree && tar -xf /tree.tar -C /tree")
            progress("measuring in a booted Debian 13")
            options = f"{bench.rounds} {'quick' if bench.quick else 'whole'}"
            said = box.read(
                f"cd /tree && PYTHONPATH=/tree python3 -m benchmarks.ways_inside {options}",
                seconds=600,
            )
    except CannotBoot as e:
        raise Skipped(str(e)) from None
    found = {name: Series(tuple(values), "/s") for name, values in json.loads(said).items()}
    return [_line(found, name) for name in found if not name.startswith("hookd,")]


def _line(found: dict[str, Series], name: str) -> Line:
    peer, _, at_a_time = name.partition(", ")
    what = f"runs of `/bin/true`, {at_a_time}, in a container"
    return Line(what, found[f"hookd, {at_a_time}"], peer, found[name])


def _tree(directory: Path) -> Path:
    """Return an archive of what runs inside."""
    path = directory / "tree.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("hookd", "benchmarks", "tests/support"):
            archive.add(TREE / name, name)
    return path
