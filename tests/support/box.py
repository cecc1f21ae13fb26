# SPDX-License-Identifier: LGPL-2.1-or-later
"""A container in which a real systemd has booted; see box-boot beside this file for its walls.

It has no network, and of control groups the core alone: limits on memory, processes or CPU want a
virtual machine (vm.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psutil

from tests.support.machine import CannotBoot, Machine, Output, need

BOOT_SECONDS = 150  # of which a stop may take 90


class Box(Machine):
    """A booted copy of the Debian in a directory; a context manager."""

    def __init__(self, root: Path) -> None:
        need("systemd-nspawn", "unshare", "nsenter")
        if os.geteuid() != 0:
            raise CannotBoot("a container with systemd wants root")
        self._root = root
        self._leader = 0

    def __enter__(self) -> Self:
        self._work = tempfile.TemporaryDirectory(prefix="hookd-box-")
        work = Path(self._work.name)
        self._name = f"hookd{uuid.uuid4().hex[:8]}"
        self._cgroup = _own_cgroup() / self._name
        self._cgroup.mkdir()
        self._console = work / "console"
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                [Path(__file__).with_name("box-boot"), self._cgroup, self._root, self._name],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        try:
            self._booted()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self.until(lambda: _removed(self._cgroup))
        self._work.cleanup()

    def execute(self, argv: Sequence[str], stdin: str, seconds: float) -> Output:
        """Run a program in the container's namespaces."""
        done = subprocess.run(
            [*self._enter(), *argv],
            input=stdin,
            capture_output=True,
            timeout=seconds,
            encoding="utf-8",
            errors="surrogateescape",
        )
        return Output(done.returncode, done.stdout, done.stderr)

    def _enter(self) -> list[str]:
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net"]
        return [*enter, "--pid", "--cgroup", "--root", "--wd", "--"]

    def copy(self, file: Path, path: str) -> None:
        """Copy a file of the tests' into the container."""
        with file.open("rb") as content:
            subprocess.run([*self._enter(), "cp", "/dev/stdin", path], stdin=content, check=True)

    def reboot(self) -> None:
        """Shut the system down in order and boot it again; its disk stays."""
        self.run("systemctl reboot --no-block")
        self._booted()

    def _booted(self) -> None:
        """Wait until a system other than before is up, and note its PID 1."""
        before = self._leader
        deadline = time.monotonic() + BOOT_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            self._leader = _container_init(self._process.pid)
            if self._leader not in (0, before):
                state = self.read("systemctl is-system-running --wait", check=False)
                if state in ("running", "degraded"):
                    return
            time.sleep(0.05)
        raise CannotBoot(f"the container did not boot:\n{self._console.read_text()[-4000:]}")


def _own_cgroup() -> Path:
    """Return the directory of this process's control group in the version 2 hierarchy."""
    mounts = Path("/proc/self/mountinfo").read_text()
    mount = re.search(r"(?m)^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2 ", mounts)
    group = re.search(r"(?m)^0::(.*)$", Path("/proc/self/cgroup").read_text())
    if mount is None or group is None:
        raise CannotBoot("no control groups of version 2 are mounted")
    return Path(mount[1] + group[1])


def _removed(cgroup: Path) -> bool:
    """Remove a control group and all below; false as long as the kernel still empties them."""
    for directory in sorted(cgroup.rglob("*/"), key=lambda d: len(d.parts), reverse=True):
        try:
            directory.rmdir()
        except OSError:
            return False
    try:
        cgroup.rmdir()
    except OSError:
        return False
    return True


def _container_init(ancestor: int) -> int:
    """Return our number of the process that is 1 two PID namespaces below ours, 0: none yet."""
    for process in psutil.Process(ancestor).children(recursive=True):
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        numbers = re.search(r"(?m)^NSpid:\s+(.*)$", status)
        if numbers and numbers[1].split()[2:] == ["1"]:
            return process.pid
    return 0
