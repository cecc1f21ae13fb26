# SPDX-License-Identifier: LGPL-2.1-or-later
"""Paths that do not answer, for the programs of one mount namespace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class Stall:
    """Starts `hanging`; programs started with `prefix` meet what it has mounted.

    `path` is a directory in which every look hangs from the beginning.
    """

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.hanging"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._until_ok()
        self.path = directory / "stalled"
        self.path.mkdir()
        self.hang(self.path)

    @property
    def prefix(self) -> list[str]:
        """A command that starts another where the paths hang."""
        return ["nsenter", f"--mount=/proc/{self._process.pid}/ns/mnt", "--"]

    def hang(self, directory: Path) -> None:
        """Have every look into this directory hang from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{directory}\n")
        self._process.stdin.flush()
        self._until_ok()

    def end(self) -> None:
        """Let all that hangs fail."""
        self._process.kill()
        self._process.communicate()

    def _until_ok(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ok\n", self._process.wait()
