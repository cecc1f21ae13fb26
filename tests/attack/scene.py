# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where hookd is attacked: an innocent client beside it, a look at its memory and descriptors."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.reachable import programs
from tests.support.wire import Wire

TREE = Path(__file__).parents[2]
MOST_WAIT = 0.05  # seconds that the innocent client may wait for an answer
HOPS = 3  # turns of threads for one answer (loop, writer, loop), each with its share of any load
MOST_GROWTH = 64 * 1024 * 1024  # bytes that hookd may be larger than before, at any moment
LOOK_EVERY = 0.02  # seconds between two looks at the memory


@dataclass(frozen=True)
class Outcome:
    """What an attack came to: its own figure, seconds, bytes, and the longest waits in seconds.

    `load` is the longest wait of the same client for a server that does nothing else than be
    durable, at the same time: what the machine, its disk and all else on it cost.
    """

    seconds: float
    growth: int
    calls: int
    wait: float
    load: float

    @property
    def fair(self) -> bool:
        """Whether the innocent client waited no longer than it may."""
        return self.wait <= MOST_WAIT + HOPS * self.load


class Scene:
    """A daemon to be attacked. `attacker` and `innocent` are commands that change the user."""

    def __init__(self, daemon: Daemon, attacker: list[str], innocent: list[str]) -> None:
        self.daemon = daemon
        self._attacker = attacker
        self._innocent = innocent
        self._bare = daemon.directory / "bare"

    def attack(self, weapon: str, seconds: float = 60.0) -> Outcome:
        """Let a weapon loose for at most so long; see that nothing of it is left in hookd."""
        assert self.daemon.process is not None
        process = psutil.Process(self.daemon.process.pid)
        with Wire(self.daemon.socket) as wire:  # the first look-up opens the database to read
            wire.call("io.hookd.Manager.ListJobs", {"limit": 1})
        with self._beside() as (hookd, bare):
            before, descriptors = process.memory_info().rss, self.descriptors()
            began = time.monotonic()
            command = [
                *self._attacker,
                str(programs() / "python"),
                "-m",
                "tests.attack.weapons",
                weapon,
            ]
            with subprocess.Popen([*command, str(self.daemon.socket)], cwd=TREE) as running:
                largest = _largest(process, running, began + seconds)
            took = time.monotonic() - began
            calls, wait = hookd.finish()
            _, load = bare.finish()
        assert running.returncode == 0, f"{weapon}: exit status {running.returncode}"
        eventually(lambda: self.descriptors() <= descriptors)
        return Outcome(took, largest - before, calls, wait, load)

    def descriptors(self) -> int:
        """Return how many descriptors hookd has open; it shows that to root alone."""
        assert self.daemon.process is not None
        pid = self.daemon.process.pid
        return len(os.listdir(f"/proc/{pid}/fd")) if os.geteuid() == 0 else 0

    @contextlib.contextmanager
    def _beside(self) -> Iterator[tuple[_Helper, _Helper]]:
        """Have the client twice: of hookd, and of the server that the machine alone slows."""
        for leftover in self._bare.parent.glob("bare*"):
            leftover.unlink()
        with contextlib.ExitStack() as stack:

            def helper(*words: str) -> _Helper:
                return stack.enter_context(_Helper(self._innocent, words))

            helper("serve", str(self._bare), f"{self._bare}.disk").ready()
            pair = helper("call", str(self.daemon.socket)), helper("call", str(self._bare))
            for client in pair:
                client.ready()
            yield pair


class _Helper:
    """A process of innocent.py; a context manager."""

    def __init__(self, user: list[str], words: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            [*user, str(programs() / "python"), "-m", "tests.attack.innocent", *words],
            cwd=TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> _Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ready(self) -> None:
        """Wait until it has begun."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def finish(self) -> tuple[int, float]:
        """Return how many calls it made and the longest wait for an answer."""
        told, _ = self._process.communicate(timeout=30)
        assert self._process.returncode == 0, "the innocent client was not served"
        met = json.loads(told)
        return met["calls"], met["longest"]


def _largest(process: psutil.Process, running: subprocess.Popen[bytes], until: float) -> int:
    """Return the most memory that a process had while another ran."""
    largest = 0
    while running.poll() is None:
        largest = max(largest, process.memory_info().rss)
        if time.monotonic() > until:
            running.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(LOOK_EVERY)
    return max(largest, process.memory_info().rss)
