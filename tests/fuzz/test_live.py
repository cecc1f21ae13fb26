# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever is sent over the socket: others are answered meanwhile, hookd goes on as it was.

No error of hookd's own is in the journal, and no other line than those for what was sent.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fuzz.conftest import CORPUS, SECONDS
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.wire import Wire

HOOK = 'command = "/bin/true $USER"\n[match]\nprofile = ["My Files"]\n[run]\nmax_running = 4\n'
LONGEST_WAIT = 2.0  # seconds: that all are answered is looked at here, how soon in tests/attack
MOST_GROWTH = 64 * 1024 * 1024  # bytes
SEEDS = [path.read_bytes()[1:] for path in sorted((CORPUS / "decoder").iterdir())]
TOKENS = [
    b"\0", b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b"null", b"true", b"-1", b"1e999",
    b"9223372036854775808", b"\xff", b"\\ud800", b"\\u0000", b'"more":true,', b'"oneway":true,',
    b'"wait":true,', b'"upgrade":true,', b"NaN", b"\xf0\x9f\xa6\x94",
]  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """Return some good calls, changed in a few places."""
    data = bytearray(b"".join(chance.choices(SEEDS, k=chance.randint(1, 3))))
    for _ in range(chance.randint(0, 6)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.randint(0, 40))
        part = data[at:end]
        data[at:end] = chance.choice(
            [b"", part * 3, part[::-1], chance.choice(TOKENS), chance.randbytes(3)]
        )
    return bytes(data)


def attack(path: Path, chance: random.Random) -> None:
    """Send something in pieces; read its answers, or not; leave, in one way or another."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(0.05)
        client.connect(str(path))
        data = mutated(chance)
        while data:
            cut = chance.choice([1, 20, len(data), len(data)])
            client.sendall(data[:cut])
            data = data[cut:]
        if chance.random() < 0.5:
            client.shutdown(socket.SHUT_WR)
        if chance.random() < 0.7:
            client.recv(65536)


@contextlib.contextmanager
def attackers(path: Path, seed: int) -> Iterator[list[int]]:
    """Have two attackers at work; the list counts what they have sent."""
    stop, counts = threading.Event(), [0, 0]

    def work(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        while not stop.is_set():
            attack(path, chance)
            counts[number] += 1

    threads = [threading.Thread(target=work, args=[number]) for number in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def ask(path: Path) -> float:
    """Be the innocent client; return the seconds that it took."""
    began = time.monotonic()
    with Wire(path) as innocent:
        job = innocent.start(profile="innocent")["job_id"]
        assert innocent.job(job)["profile"] == "innocent"
        assert innocent.status()["healthy"]
    return time.monotonic() - began


def descriptors(server: psutil.Process) -> int:
    """Return how many descriptors hookd has open; it shows that to root alone (prctl(2))."""
    return server.num_fds() if os.geteuid() == 0 else 0


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS + 120)
def test_nothing_that_is_sent_disturbs_others(daemon: Daemon, records: Records) -> None:
    seed = random.randrange(2**32)
    daemon.hook("h", HOOK)
    daemon.start()
    assert daemon.process is not None
    server = psutil.Process(daemon.process.pid)
    longest = ask(daemon.socket)
    memory, open_before = server.memory_info().rss, descriptors(server)
    until = time.monotonic() + SECONDS
    with attackers(daemon.socket, seed) as counts:
        while time.monotonic() < until:
            longest = max(longest, ask(daemon.socket))
    print(f"seed {seed}: {sum(counts)} connections, the longest wait {longest:.3f} s")
    assert min(counts) > 0 and longest < LONGEST_WAIT, f"seed {seed}"
    assert server.memory_info().rss - memory < MOST_GROWTH, f"seed {seed}"
    eventually(lambda: descriptors(server) <= open_before, within=30)
    assert daemon.stop() == 0
    said = [record["MESSAGE"] for record in records.find(SYSLOG_IDENTIFIER="hookd")]
    assert [line for line in said if "error of hookd's own" in line] == [], f"seed {seed}"
    assert "Traceback" not in daemon.said(), f"seed {seed}: {daemon.said()}"
