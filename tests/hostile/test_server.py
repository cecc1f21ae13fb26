# SPDX-License-Identifier: LGPL-2.1-or-later
"""The server too is out of a hook's reach, and no larger after a flood."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.hostile.arena import GALLERY, MOST_GROWTH
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.runner import PYTHON
from tests.support.wire import Wire

pytestmark = pytest.mark.hostile

# Nothing can be kept from a hook of root's; as an ordinary user all are of the same one.
USER = 'user = "nobody"' if os.geteuid() == 0 else ""
Run = Callable[..., dict[str, object]]


@pytest.fixture
def let_loose(daemon: Daemon) -> Iterator[Run]:
    """Return a function that runs a script of the gallery against the daemon it is a hook of."""
    daemon.directory.chmod(0o755)
    daemon.start()
    assert daemon.process is not None
    server = psutil.Process(daemon.process.pid)

    def run(script: str, *arguments: str) -> dict[str, object]:
        victims = [server, *server.children(recursive=True)]
        words = arguments or tuple(str(victim.pid) for victim in victims)
        source = (GALLERY / script).read_text().replace("/usr/bin/env python3", PYTHON)
        program = daemon.script(script, "")
        program.write_text(source)
        daemon.hook("beast", f'command = "{program} {" ".join(words)}"\n[run]\n{USER}\n')
        with Wire(daemon.socket) as wire:
            wire.call("io.hookd.Manager.Reload")
            found: dict[str, object] = wire.start(wait=True)["hooks"][0]
        return found

    yield run
    assert server.is_running()


@pytest.mark.parametrize("script", ["signals_hookd.py", "enters_hookd.py"])
def test_no_way_in(let_loose: Run, script: str) -> None:
    run = let_loose(script)
    assert (run["result"], run["exit_status"]) == ("success", 0)


def test_a_flood_does_not_swell_the_server(daemon: Daemon, let_loose: Run) -> None:
    assert daemon.process is not None
    processes = [psutil.Process(daemon.process.pid)]
    processes += processes[0].children()
    let_loose("prints_much.sh", "1000")
    before = [process.memory_info().rss for process in processes]
    before_open = descriptors(processes)
    run = let_loose("prints_much.sh", "100000000")
    assert (run["result"], run["output_bytes"]) == ("success", 100_000_000)
    after = [process.memory_info().rss for process in processes]
    assert all(b - a < MOST_GROWTH for a, b in zip(before, after, strict=True)), (before, after)
    eventually(lambda: descriptors(processes) <= before_open)


def descriptors(processes: list[psutil.Process]) -> list[int]:
    """Return how many descriptors each has open; they show that to root alone."""
    return [process.num_fds() if os.geteuid() == 0 else 0 for process in processes]
