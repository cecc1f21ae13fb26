# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a second: StartJob that waits for its hook, beside webhook and the kernel's own pace.

hookd does it with a durable commit, limits, another user, the output and both records in the
journal; webhook with the output in its response.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.bench import Bench
from benchmarks.figures import Line, at_least
from benchmarks.load import Http, Varlink, rate
from benchmarks.peers import Webhook, spawns
from benchmarks.subject import hook, hookd, script

CONNECTIONS = (16, 64)


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the row."""
    directory = bench.directory("peer")
    commands = {"true": ["/bin/true"], "sh": [str(script(directory)), "nightly"]}
    hooks = {name: hook(" ".join(words), name) for name, words in commands.items()}
    with hookd(bench, hooks) as daemon, Webhook(directory, commands) as webhook:
        contestants: dict[str, Callable[[], float]] = {}
        for name, words in commands.items():
            contestants[f"floor {name}"] = partial(spawns, words, bench.seconds)
            varlink = Varlink(daemon.socket, name, wait=True, ends=False)
            http = Http(webhook.port, f"/hooks/{name}")
            for many in CONNECTIONS:
                contestants[f"hookd {name} {many}"] = partial(rate, varlink, many, bench.seconds)
                contestants[f"webhook {name} {many}"] = partial(rate, http, many, bench.seconds)
        found = bench.interleaved(contestants, "/s")
    lines = []
    for name, shown in (("true", "`/bin/true`"), ("sh", "a hook of three lines of sh")):
        for many in CONNECTIONS:
            what = f"runs of {shown}, {many} connections"
            ours = found[f"hookd {name} {many}"]
            webhooks, floor = found[f"webhook {name} {many}"], found[f"floor {name}"]
            lines.append(Line(what, ours, "webhook", webhooks, at_least(1.2)))
            lines.append(Line(what, ours, "posix_spawn, all CPUs", floor, at_least(0.65)))
    return lines
