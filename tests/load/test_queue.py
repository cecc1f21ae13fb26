# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ten thousand runs wait: on disk, and nobody who asks is kept waiting for them."""

from __future__ import annotations

import statistics
import time

import psutil
import pytest

from tests.durability.hooks import running, waiting
from tests.support.daemon import Daemon
from tests.support.wire import END, Wire

START = 'phases = ["start"]\n'

pytestmark = pytest.mark.load


def test_what_waits_is_on_disk_and_not_in_memory(daemon: Daemon) -> None:
    (daemon.directory / "hookd.toml").write_text("[daemon]\nmax_running = 1\n")
    waiting(daemon, "stuck", START + '[run]\noverlap = "serial"\noverlap_key = "profile"\n')
    daemon.start()
    assert daemon.process is not None
    server = psutil.Process(daemon.process.pid)
    with Wire(daemon.socket) as wire:
        wire.start()
        before = server.memory_info().rss
        for number in range(200):
            wire.start(profile=f"{number:100000}", attributes={"a": "x" * 100_000})
        assert wire.status()["waiting"] == 200
    grown = server.memory_info().rss - before  # the events are 60 MB: profile, its name, the rest
    assert grown < 10_000_000
    daemon.kill()


def test_the_status_comes_at_once_while_all_is_stuck_and_10000_wait(daemon: Daemon) -> None:
    (daemon.directory / "hookd.toml").write_text("[daemon]\nmax_running = 4\nmax_queue = 20000\n")
    for number in range(10):
        waiting(daemon, f"stuck-{number}", START)
    daemon.start()
    with Wire(daemon.socket) as wire:
        for _ in range(1001):
            wire.start()
        running(daemon, 4)
        status = wire.status()
        assert (status["running"], status["waiting"]) == (4, 10006)
        seconds = []
        for _ in range(41):
            before = time.perf_counter()
            wire.status()
            seconds.append(time.perf_counter() - before)
            wire.start()  # the work goes on meanwhile
        assert statistics.median(seconds) < 0.05
        before = time.perf_counter()
        assert wire.error("EndJob", END | {"job_id": 99999})[0] == "io.hookd.Jobs.NoSuchJob"
        assert time.perf_counter() - before < 2
    daemon.kill()
    started = time.perf_counter()
    daemon.start()
    assert time.perf_counter() - started < 15
    with Wire(daemon.socket) as wire:
        assert wire.status()["waiting"] > 10000
    daemon.kill()
