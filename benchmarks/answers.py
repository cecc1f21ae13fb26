# SPDX-License-Identifier: LGPL-2.1-or-later
"""Durable answers a second: job after job that no hook matches, beside the disk's own pace.

Half of the answers are to starts, half to ends.
"""

from __future__ import annotations

from functools import partial

from benchmarks.bench import Bench
from benchmarks.figures import Line, at_least
from benchmarks.load import Varlink, rate
from benchmarks.peers import commits
from benchmarks.subject import hook, hookd

CONNECTIONS = 64


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the row."""
    with hookd(bench, {"other": hook("/bin/true", "other")}) as daemon:
        talk = Varlink(daemon.socket, wait=False, ends=True)
        found = bench.interleaved(
            {
                "hookd": partial(rate, talk, CONNECTIONS, bench.seconds),
                "commits": partial(commits, daemon.directory, bench.seconds),
            },
            "/s",
        )
    what = f"durable answers, {CONNECTIONS} connections"
    return [Line(what, found["hookd"], "SQLite commits", found["commits"], at_least(3))]
