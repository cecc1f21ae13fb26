# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a harmful hook is let loose: a real runner, a neighbour beside it, a look afterwards."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import psutil

from hookd.model import Receipt
from hookd.runner.launch import cgroup
from tests.support.eventually import eventually
from tests.support.runner import PYTHON, Runner

GALLERY = Path(__file__).with_name("gallery")
SLOWNESS = float(os.environ.get("SLOWNESS", "1"))  # how slow this machine is; see Machine
LONG = f"{20 * SLOWNESS:g}s"  # which no hook needs that ends by itself
MOST_DELAY = 0.1  # seconds that a neighbour may be held up, as issue and manual promise
HOPS = 4  # processes that must run one after the other for a neighbour, so its share of any load
MOST_GROWTH = 16 * 1024 * 1024  # bytes that the runner may be larger afterwards


class Fight(msgspec.Struct):
    """What came of a hook: its receipt, the seconds until that was there, a neighbour's delay.

    `load` is how much longer than usual the neighbour's program took when the test itself
    started it meanwhile: what the kernel and other processes did to it, and not hookd.
    """

    receipt: Receipt
    seconds: float
    delay: float
    load: float

    @property
    def fair(self) -> bool:
        """Whether hookd let the neighbour wait no longer than it may."""
        return self.delay <= MOST_DELAY * SLOWNESS + HOPS * self.load


class Arena:
    """Lets hooks of the gallery loose in one runner."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.token = uuid.uuid4().hex
        self.process = psutil.Process(runner.process.pid)
        self.room = runner.directory / "room"
        self.room.mkdir()
        self.room.chmod(0o1777)
        self.program = runner.script("neighbour", "exit 0\n")
        runner.hook("neighbour", f'command = "{self.program}"\n')
        runner.reload()
        pairs = [self.neighbours() for _ in range(5)]
        self.usual = statistics.median(delay for delay, _ in pairs)
        self.usual_load = statistics.median(load for _, load in pairs)

    def enter(self, script: str, *arguments: str, limits: str = "", timeout: str = LONG) -> None:
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
        eventually(lambda: not self.runner.launchers())  # which a reload ends

    def fight(self, **event: Any) -> Fight:
        """Run the beast beside neighbours to its end, and see that it left nothing."""
        runner = self.runner
        descriptors = self.descriptors()
        memory = self.process.memory_info().rss
        began = time.monotonic()
        beast = runner.begin("beast", **event)
        delay = load = 0.0
        while not runner.has_ended(beast, within=0.02):
            neighbour, alone = self.neighbours()
            delay = max(delay, neighbour - self.usual)
            load = max(load, alone - self.usual_load)
        fight = Fight(runner.until_ended(beast), time.monotonic() - began, delay, load)
        eventually(lambda: not self.remains())
        eventually(lambda: self.descriptors() == descriptors)
        assert self.process.memory_info().rss - memory < MOST_GROWTH
        assert fight.receipt.survivors == 0
        return fight

    def neighbours(self) -> tuple[float, float]:
        """Run the well-behaved hook and, at the same moment, its program without hookd.

        One after the other they would meet different loads: a fork bomb is over in a moment.
        """
        with ThreadPoolExecutor(1) as beside:
            alone = beside.submit(self.alone)
            return self.neighbour(), alone.result()

    def neighbour(self) -> float:
        """Run the well-behaved hook; return the seconds from the order to its end."""
        sent = time.time()
        receipt = self.runner.run("neighbour")
        assert receipt.result == "success", receipt
        return receipt.ended_usec / 1e6 - sent

    def alone(self) -> float:
        """Run the same program without hookd; return the seconds it took."""
        began = time.monotonic()
        subprocess.run([self.program], check=True)
        return time.monotonic() - began

    def remains(self) -> list[int]:
        """Return the threads of the beast that are alive, known by what they inherited."""
        token = f"ARENA={self.token}\0".encode()
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):  # the first thread may have exited
                    if token in Path(f"/proc/{pid}/task/{task}/environ").read_bytes():
                        found.append(int(task))
        return found

    def descriptors(self) -> int:
        """Return how many descriptors the runner has open, but for those of each launcher.

        They are its socket and pidfd and, with a control group, that one's peak of memory.
        It shows that to root alone, see PR_SET_DUMPABLE in prctl(2).
        """
        if os.geteuid() != 0:
            return 0
        each = 2 if cgroup.delegated() is None else 3
        return self.process.num_fds() - each * len(self.runner.launchers())
