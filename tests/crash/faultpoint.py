# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookd or hookd-runner as it is, but that it can be made to die at a named step of its work.

    faultpoint.py CONTROL server|runner ARGUMENT...

CONTROL is a file that both sides map: `arm` writes a step and a number there, and at that many
passages from then on the process kills itself, as the kernel's SIGKILL at that moment would.
"""

from __future__ import annotations

import functools
import importlib
import mmap
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE = 64
SLOW_DISK_SEC = 0.02  # before a commit: what is answered too early gets the time to be answered

# step: (where, whether before or after it)
SERVER_STEPS = {
    "accepted": ("hookd.server.transport.listener:Listener._admit", "after"),
    "decoded": ("hookd.server.daemon:Daemon._handle", "before"),
    "written": ("hookd.server.storage.database:Database._event", "after"),
    "announced": ("hookd.server.dispatch.intake:Intake._say", "after"),
    "answered": ("hookd.server.transport.connection:Connection._send", "after"),
    "handed-at-once": ("hookd.server.dispatch.handover:Handover.send", "before"),
    "handed-over": ("hookd.server.dispatch.handover:Handover._written", "before"),
    "sent": ("hookd.server.transport.runner_link:RunnerLink._flush", "after"),
    "result-heard": ("hookd.server.dispatch.reports:RunReports.take", "before"),
    "result-on-disk": ("hookd.server.dispatch.dispatcher:Dispatcher._on_disk", "before"),
    "settled": ("hookd.server.dispatch.dispatcher:Dispatcher._on_disk", "after"),
}
COMMIT_STEPS = ("committing", "committed")
RUNNER_STEPS = {
    "told-to-start": ("hookd.runner.runner:Runner._begin", "before"),
    "starting": ("hookd.runner.runner:Runner._begin", "after"),
    "started": ("hookd.runner.runner:Runner._has_started", "before"),
    "ended": ("hookd.runner.runner:Runner._has_ended", "before"),
    "result-told": ("hookd.runner.runner:Runner._answer", "after"),
}


def control(path: Path) -> mmap.mmap:
    """Return the mapped control file, made where it is not there yet."""
    with path.open("a+b") as file:
        file.truncate(SIZE)
        return mmap.mmap(file.fileno(), SIZE)


def arm(mapped: mmap.mmap, step: str, passages: int) -> None:
    """Have the process that passes this step die there; an empty step disarms."""
    mapped[:SIZE] = f"{step} {passages} ".encode().ljust(SIZE, b"\0")


class Points:
    """The steps of this process."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._passed = 0

    def reached(self, step: bytes, pause: float = 0.0) -> None:
        """Die here if this is the step, and enough have passed it."""
        if self._mapped[: len(step)] != step:
            return
        self._passed += 1
        if self._passed >= int(self._mapped[len(step) : SIZE].split()[0]):
            time.sleep(pause)
            os.kill(os.getpid(), signal.SIGKILL)

    def set(self, step: str, where: str, when: str) -> None:
        """Put a point before or after a method."""
        module, _, name = where.partition(":")
        owner = getattr(importlib.import_module(module), name.split(".")[0])
        method: Callable[..., Any] = getattr(owner, name.split(".")[1])
        mark = step.encode() + b" "

        @functools.wraps(method)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if when == "before":
                self.reached(mark)
            result = method(*args, **kwargs)
            if when == "after":
                self.reached(mark)
            return result

        setattr(owner, name.split(".")[1], watched)

    def set_at_commit(self) -> None:
        """Put points before and after every COMMIT."""
        points = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql != "COMMIT":
                    return super().execute(sql, *args)
                points.reached(b"committing ", SLOW_DISK_SEC)
                cursor = super().execute(sql, *args)
                points.reached(b"committed ")
                return cursor

        sqlite3.connect = functools.partial(  # type: ignore[assignment]
            sqlite3.connect, factory=Connection
        )


def main() -> None:
    points = Points(control(Path(sys.argv[1])))
    program = sys.argv[2]
    sys.argv = [f"hookd-{program}", *sys.argv[3:]]
    for step, (where, when) in (SERVER_STEPS if program == "server" else RUNNER_STEPS).items():
        points.set(step, where, when)
    if program == "server":
        points.set_at_commit()
    sys.exit(importlib.import_module(f"hookd.{program}.main").main())


if __name__ == "__main__":
    main()
