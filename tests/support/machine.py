# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a test can do with a booted system, container or virtual machine alike."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

TREE = Path(__file__).resolve().parent.parent.parent
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = ["env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8"]


class CannotBoot(Exception):
    """Something that a machine needs is missing here; the message says what."""


class Output(NamedTuple):
    """How a command ended, and all it printed."""

    status: int
    stdout: str
    stderr: str


class Machine:
    """A booted Debian, root's to command. Subclasses boot it and implement `execute`."""

    slowness = 1
    """How many times longer than usual things take; limits in tests are multiplied by it."""

    def execute(self, argv: Sequence[str], stdin: str, seconds: float) -> Output:
        """Run a program inside and wait for its end."""
        raise NotImplementedError

    def run(
        self,
        command: str,
        *,
        user: str | None = None,
        stdin: str = "",
        check: bool = True,
        seconds: float = 60,
    ) -> Output:
        """Run a shell command, as root or as `user`; with `check` it must succeed."""
        argv = [*ENVIRONMENT, "sh", "-c", command]
        if user:
            switch = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
            argv = [*switch, *argv]
        output = self.execute(argv, stdin, seconds * self.slowness)
        if check and output.status != 0:
            raise AssertionError(
                f"{command}\nended with {output.status}\n{output.stdout}{output.stderr}"
            )
        return output

    def read(self, command: str, **options: Any) -> str:
        """Return what a shell command prints, without the last newline."""
        return self.run(command, **options).stdout.rstrip("\n")

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Make a file of root's."""
        self.run(f"mkdir -p {Path(path).parent} && cat >{path} && chmod {mode} {path}", stdin=text)

    def records(self, *matches: str) -> list[dict[str, Any]]:
        """Return the journal's records that match, oldest first, with all their fields."""
        self.run("journalctl --sync")
        lines = self.read(f"journalctl -q -o json --all {' '.join(matches)}").splitlines()
        return [json.loads(line) for line in lines]

    def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Wait until the condition is true."""
        deadline = time.monotonic() + seconds * self.slowness
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not so within {seconds * self.slowness:g} s")
            time.sleep(0.05)


def debian(suite: str, packages: Sequence[str]) -> Path:
    """Return the directory of a Debian with these packages, made where it is not there yet."""
    made = subprocess.run(
        [TREE / "packaging/debian-root", suite, *packages],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise CannotBoot(made.stderr.strip())
    return Path(made.stdout.strip())


def need(*tools: str) -> None:
    """Raise CannotBoot with every one of these programs that is not here."""
    missing = [tool for tool in tools if not shutil.which(tool, path=PATH)]
    if missing:
        raise CannotBoot(f"no {', '.join(missing)} (packaging/setup system brings them)")
