# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a harmful hook is let loose: a real runner, a neighbour beside it, a look afterwards."""

from __future__ import annotations

import os
import statistics
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import psutil

from hookd.model import Receipt
from tests.support.eventually import eventually
from tests.support.runner import PYTHON, Runner

GALLERY = Path(__file__).with_name("gallery")
SLOWNESS = float(os.environ.get("SLOWNESS", "1"))  # how slow this machine is; see Machine
MOST_DELAY = 0.1  # seconds that a neighbour may be held up, as issue and manual promise
MOST_GROWTH = 16 * 1024 * 1024  # bytes that the runner may be larger afterwards


class Fight(msgspec.Struct):
    """What came of a hook: its receipt, the seconds until that was there, a neighbour's delay."""

    receipt: Receipt
    seconds: float
    delay: float


class Arena:
    """Lets hooks of the gallery loose in one runner."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.token = uuid.uuid4().hex
        self.process = psutil.Process(runner.process.pid)
        self.room = runner.directory / "room"
        self.room.mkdir()
        self.room.chmod(0o1777)
        neighbour = runner.script("neighbour", "exit 0\n")
        runner.hook("neighbour", f'command = "{neighbour}"\n')
        runner.reload()
        times = sorted(self.neighbour() for _ in range(5))
        self.usual = statistics.median(times)

    def enter(self, script: str, *arguments: str, limits: str = "", timeout: str = "20s") -> None:
        """Make a hook named "beast" of a script of the gallery."""
        source = (GALLERY / script).read_text().replace("/usr/bin/env python3", PYTHON)
        program = self.runner.script(script, source)
        if self.runner.account.pw_uid != os.geteuid():
            os.chown(program, self.runner.account.pw_uid, -1)
        words = " ".join([str(program), *arguments])
        self.runner.hook(
            "beast",
            f'command = "{words}"\n[run]\nenvironment = {{ ARENA = "{self.token}" }}\n'
            f'[limits]\ntimeout = "{timeout}"\nkill_grace = "300ms"\n{limits}\n',
        )
        loaded = self.runner.reload()
        assert not loaded.errors, loaded.errors

    def fight(self, **event: Any) -> Fight:
        """Run the beast beside neighbours to its end, and see that it left nothing."""
        runner = self.runner
        launchers, descriptors = len(runner.launchers()), self.descriptors()
        memory = self.process.memory_info().rss
        began = time.monotonic()
        beast = runner.begin("beast", **event)
        worst = 0.0
        while not runner.has_ended(beast, within=0.02):
            worst = max(worst, self.neighbour() - self.usual)
        fight = Fight(runner.until_ended(beast), time.monotonic() - began, worst)
        eventually(lambda: not self.remains())
        eventually(
            lambda: self.descriptors() - descriptors == 2 * (len(runner.launchers()) - launchers)
        )
        assert self.process.memory_info().rss - memory < MOST_GROWTH
        assert fight.receipt.survivors == 0
        return fight

    def neighbour(self) -> float:
        """Run the well-behaved hook; return the seconds from the order to its end."""
        sent = time.time()
        receipt = self.runner.run("neighbour")
        assert receipt.result == "success", receipt
        return receipt.ended_usec / 1e6 - sent

    def remains(self) -> list[psutil.Process]:
        """Return the processes of the beast that are alive, known by what they inherited."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("ARENA") == self.token:
                    found.append(process)
            except psutil.Error:
                continue
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def descriptors(self) -> int:
        """Return how many descriptors the runner has open; it shows that to root alone."""
        return self.process.num_fds() if os.geteuid() == 0 else 0
