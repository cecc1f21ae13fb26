# SPDX-License-Identifier: LGPL-2.1-or-later
"""`ways_inside ROUNDS quick|whole`, as root in a booted Debian: how many runs a second, as JSON.

Each way waits for the end of what it runs, /bin/true.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.load import Varlink, rate
from benchmarks.subject import hook, hookd

AT_A_TIME = (1, 16)
UNIT_SOCKET = "/run/bench.sock"
UNITS = {
    "bench.socket": f"""[Socket]
ListenStream={UNIT_SOCKET}
Accept=yes
MaxConnections=1024
TriggerLimitIntervalSec=0
""",
    "bench@.service": """[Unit]
CollectMode=inactive-or-failed
[Service]
ExecStart=/bin/true
StandardInput=socket
""",
}


def main() -> None:
    """Measure and print."""
    rounds, much = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="hookd-", dir="/var/tmp") as scratch:
        Path(scratch).chmod(0o755)
        bench = Bench(int(rounds), much == "quick", Path(scratch))
        _install()
        with hookd(bench, {"true": hook("/bin/true", "nightly")}) as daemon:
            talk = Varlink(daemon.socket, wait=True, ends=False)
            ways = {
                "systemd-run --wait": _systemd_run,
                "a socket unit with Accept=yes": _socket_unit,
                "fail2ban's action runner": _fail2ban(),
            }
            contestants: dict[str, Callable[[], float]] = {}
            for many in AT_A_TIME:
                contestants[f"hookd, {many} at a time"] = partial(rate, talk, many, bench.seconds)
                for name, way in ways.items():
                    work = partial(_at_a_time, way, many, bench.seconds)
                    contestants[f"{name}, {many} at a time"] = work
            found = bench.interleaved(contestants, "/s")
    print(json.dumps({name: series.values for name, series in found.items()}))


def _install() -> None:
    """Make the units, and the command by which hookd is started."""
    for name, text in UNITS.items():
        Path("/run/systemd/system", name).write_text(text)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "start", "bench.socket"], check=True)
    command = Path(sys.executable).with_name("hookd")
    command.write_text('#!/bin/sh\nexec python3 -m hookd.server.main "$@"\n')
    command.chmod(0o755)


def _at_a_time(work: Callable[[], object], many: int, seconds: float) -> float:
    """Return how often a second so many threads together have the work done."""
    began = time.perf_counter()

    def repeat(_: int) -> int:
        done = 0
        while time.perf_counter() < began + seconds:
            work()
            done += 1
        return done

    with ThreadPoolExecutor(many) as pool:
        return sum(pool.map(repeat, range(many))) / (time.perf_counter() - began)


def _systemd_run() -> None:
    subprocess.run(["systemd-run", "--quiet", "--wait", "--collect", "/bin/true"], check=True)


def _socket_unit() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(UNIT_SOCKET)
        assert sock.recv(1) == b""  # the last descriptor is closed: it has ended


def _fail2ban() -> Callable[[], None]:
    action: Any = import_module("fail2ban.server.action").CommandAction

    def run() -> None:
        assert action.executeCmd("/bin/true", timeout=60)

    return run


if __name__ == "__main__":
    main()
