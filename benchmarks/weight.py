# SPDX-License-Identifier: LGPL-2.1-or-later
"""Weight: memory of both processes, fresh and after many runs; wakeups and threads when idle.

hookd and hookd-runner run as two units would start them, with the units' watchdog.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import psutil

from benchmarks.bench import Bench, progress
from benchmarks.figures import Bar, Line, Series, at_most
from benchmarks.load import Varlink, rate
from benchmarks.subject import SETTINGS, hook, running
from tests.support.daemon import Daemon
from tests.support.runner_unit import RunnerUnit

WATCHDOG_SEC = 30  # WatchdogSec= of both units
SETTLE_SEC = 2  # for what is still to do after the last answer
CONNECTIONS = 64
MB = 1_000_000


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the row."""
    daemon = Daemon(bench.directory("hookd"), SETTINGS)
    runner = RunnerUnit(daemon.directory)
    os.environ["WATCHDOG_USEC"] = str(WATCHDOG_SEC * 1_000_000)
    hooks = {"true": hook("/bin/true", "nightly", '["start", "end"]')}
    runner_hooks = running(daemon, hooks, *runner.arguments)
    for name, text in hooks.items():  # the runner reads them before the daemon is there
        daemon.hook(name, text)
    runner.start()
    try:
        with runner_hooks:
            assert daemon.process is not None and runner.process is not None
            return _weigh(bench, daemon, [daemon.process.pid, runner.process.pid])
    finally:
        runner.stop()
        del os.environ["WATCHDOG_USEC"]


def _weigh(bench: Bench, daemon: Daemon, pids: list[int]) -> list[Line]:
    runs = 10_000 if bench.quick else 100_000
    time.sleep(SETTLE_SEC)
    lines = _memory("fresh", pids, at_most(45, "MB"))
    lines += _wakeups(15 if bench.quick else 60, pids)
    _run(daemon, runs // 10)
    early = _both(pids)
    _run(daemon, runs - runs // 10)
    late = _both(pids)
    lines += _memory(f"after {runs:,} runs", pids, at_most(45, "MB"))
    what = f"memory after {runs:,} runs, beside that after {runs // 10:,}"
    lines.append(Line(what, late, "itself", early, at_most(1.05)))
    return lines


def _run(daemon: Daemon, runs: int) -> None:
    """Have so many hooks run, jobs whole."""
    talk, done = Varlink(daemon.socket, wait=True, ends=True), 0.0
    while done < runs:
        began = time.monotonic()
        seconds = min(10.0, max(0.5, (runs - done) / 1000))
        done += rate(talk, CONNECTIONS, seconds) * (time.monotonic() - began)
        progress(f"{done:,.0f} runs")
    time.sleep(SETTLE_SEC)


def _both(pids: list[int]) -> Series:
    return Series((sum(psutil.Process(pid).memory_info().rss for pid in pids) / MB,), "MB")


def _memory(when: str, pids: list[int], bar: Bar) -> list[Line]:
    lines = [Line(f"resident memory {when}, both processes", _both(pids), bar=bar)]
    launchers = [pss for pid in _launchers(pids) if (pss := _pss(pid)) is not None]
    if launchers:
        whole = Series((sum(pss.median for pss in launchers),), "MB")
        lines.append(
            Line(f"- {len(launchers)} launchers, with their share of common pages", whole)
        )
    for name, pid in _processes(pids):
        process = psutil.Process(pid)
        rss = Series((process.memory_info().rss / MB,), "MB")
        lines.append(Line(f"- {name}, {process.num_threads()} threads", rss))
        if (pss := _pss(pid)) is not None:
            lines.append(Line(f"- {name}, with its share of common pages", pss))
    return lines


def _processes(pids: list[int]) -> list[tuple[str, int]]:
    """Return the two processes and the zygote."""
    found = list(zip(("hookd", "hookd-runner"), pids, strict=True))
    return found + [("zygote", zygote.pid) for zygote in psutil.Process(pids[1]).children()]


def _launchers(pids: list[int]) -> list[int]:
    return [one.pid for zygote in psutil.Process(pids[1]).children() for one in zygote.children()]


def _pss(pid: int) -> Series | None:
    """Return the proportional set size, None where only root may know it (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except PermissionError:
        return None
    found = re.search(r"(?m)^Pss:\s+(\d+) kB", text)
    assert found, text
    return Series((int(found[1]) * 1024 / MB,), "MB")


def _wakeups(seconds: float, pids: list[int]) -> list[Line]:
    """Count how often each process goes to sleep again while nothing happens."""
    before = {pid: _switches(pid) for _, pid in _processes(pids)}
    time.sleep(seconds)
    lines = []
    for name, pid in _processes(pids):
        a_minute = (_switches(pid) - before[pid]) * 60 / seconds
        # The watchdog is fed up to three times in its time; one more that just fell into ours.
        allowed = 3 * 60 / WATCHDOG_SEC + 60 / seconds if pid in pids else 0
        wakeups = Series((a_minute,), "a minute")
        lines.append(Line(f"wakeups of {name}, idle", wakeups, bar=at_most(allowed, "a minute")))
    return lines


def _switches(pid: int) -> int:
    status = "".join(p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(n) for n in re.findall(r"(?m)^voluntary_ctxt_switches:\s+(\d+)", status))
