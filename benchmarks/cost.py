# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one run costs, process by process: CPU time, and with `--calls` the system calls.

    tests/support/with-journal .venv/bin/python -m benchmarks.cost [--calls] [CONNECTIONS]

Not a row of the table but where a look at one begins: the time of a run that waits is the sum of
all these on as many CPUs as there are.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.bench import Bench
from benchmarks.load import WARM_UP, Varlink, rate
from benchmarks.subject import hook, hookd
from tests.support.wire import Wire

SECONDS = 5.0
SHOWN = 12  # system calls of each process
ROW = re.compile(r"(?m)^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(?!total)(\w+)$")  # of strace -c


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.cost", description=__doc__)
    parser.add_argument("connections", nargs="?", type=int, default=16, metavar="CONNECTIONS")
    parser.add_argument("--calls", action="store_true", help="count system calls by strace")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hookd-", dir="/var/tmp") as scratch:
        Path(scratch).chmod(0o755)
        bench = Bench(1, False, Path(scratch))
        with hookd(bench, {"true": hook("/bin/true", "nightly")}) as daemon:
            assert daemon.process is not None
            talk = Varlink(daemon.socket, wait=True, ends=False)
            server = psutil.Process(daemon.process.pid)
            with ThreadPoolExecutor(1) as pool:
                load = pool.submit(rate, talk, asked.connections, SECONDS)
                time.sleep(WARM_UP)
                if asked.calls:
                    _print_calls(server, daemon.socket)
                else:
                    _print_cpu(server, load.result)


def _processes(server: psutil.Process) -> dict[str, list[psutil.Process]]:
    """Return who works for a run."""
    (runner,) = server.children()
    (zygote,) = runner.children()
    journald = [p for p in psutil.process_iter() if p.name() == "systemd-journald"]
    return {
        "hookd": [server],
        "hookd-runner": [runner],
        "launchers": zygote.children(),
        "zygote": [zygote],
        "journald": journald,
    }


def _cpu(server: psutil.Process) -> dict[str, float]:
    """Return the seconds that each kind of process has worked; hooks are launchers' children."""
    found = defaultdict(float, load=time.process_time())
    for kind, processes in _processes(server).items():
        for process in processes:
            with suppress(psutil.NoSuchProcess, OSError):
                found[kind] += _worked(process.pid)
                if kind == "launchers":
                    times = process.cpu_times()
                    found["hooks"] += times.children_user + times.children_system
    return found


def _worked(pid: int) -> float:
    """Return the seconds that a process has worked: the ticks of proc(5) are too few for some."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9


def _print_cpu(server: psutil.Process, runs_a_second: Callable[[], float]) -> None:
    before, machine, began = _cpu(server), psutil.cpu_times(), time.perf_counter()
    time.sleep(SECONDS - 0.5)
    after, idle = _cpu(server), psutil.cpu_times().idle - machine.idle
    elapsed = time.perf_counter() - began
    runs = runs_a_second()
    cpus = len(os.sched_getaffinity(0))
    print(f"{runs:.0f} runs a second, {cpus / runs * 1e6:.0f} us of {cpus} CPUs for each")
    spent = {kind: after[kind] - before[kind] for kind in after} | {"idle": idle}
    spent["others, and interrupts"] = max(0.0, cpus * elapsed - sum(spent.values()))
    for kind, seconds in sorted(spent.items(), key=lambda each: -each[1]):
        each = seconds / elapsed / runs * 1e6
        print(f"{kind:24}{each:7.0f} us a run {seconds / elapsed / cpus:6.0%}")


def _print_calls(server: psutil.Process, path: Path) -> None:
    """Print the calls of both processes for each run.

    strace(1) slows them, but they do the same. Launchers are left alone: some die of it.
    """
    seconds = str(SECONDS - 2)
    first = _next_job(path)
    straces = [
        subprocess.Popen(
            ["timeout", "--signal=INT", seconds, "strace", "-f", "-c", "-p", str(process.pid)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in (server, *server.children())
    ]
    summaries = [strace.communicate()[1] for strace in straces]
    runs = _next_job(path) - first
    for kind, summary in zip(("hookd", "hookd-runner"), summaries, strict=True):
        counts = Counter({name: int(calls) for calls, name in ROW.findall(summary)})
        print(f"{kind}: {counts.total() / runs:.1f} calls a run")
        for name, count in counts.most_common(SHOWN):
            print(f"  {name:24}{count / runs:6.2f}")


def _next_job(path: Path) -> int:
    """Return the number of a new job, which no hook runs for: so many have been before."""
    with Wire(path) as wire:
        job_id: int = wire.start(profile="none")["job_id"]
        return job_id


if __name__ == "__main__":
    main()
