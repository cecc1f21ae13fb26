# SPDX-License-Identifier: LGPL-2.1-or-later
"""Growth: the first rows again, and a page of jobs, with a million finished jobs on disk."""

from __future__ import annotations

import sqlite3
import statistics
import time
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, progress
from benchmarks.figures import Line, at_least, at_most
from benchmarks.load import Varlink, rate
from benchmarks.subject import SETTINGS, hook, hookd, running
from hookd.server.storage.schema import migrate
from tests.support.daemon import Daemon
from tests.support.wire import Wire

RUNS_CONNECTIONS, ANSWERS_CONNECTIONS = 16, 64
PAGES = 20  # asked for in a round, of which the median counts


def measure(bench: Bench) -> list[Line]:
    """Return the lines of the row."""
    jobs = 100_000 if bench.quick else 1_000_000
    hooks = {"true": hook("/bin/true", "runs")}
    full = Daemon(bench.directory("full"), SETTINGS)
    _fill(full.directory / "state", jobs)
    with hookd(bench, hooks) as empty, running(full, hooks):
        contestants = {}
        for name, daemon in (("empty", empty), ("full", full)):
            runs = Varlink(daemon.socket, "runs", wait=True, ends=False)
            answers = Varlink(daemon.socket, wait=False, ends=True)
            contestants[f"runs {name}"] = partial(rate, runs, RUNS_CONNECTIONS, bench.seconds)
            contestants[f"answers {name}"] = partial(
                rate, answers, ANSWERS_CONNECTIONS, bench.seconds
            )
        found = bench.interleaved(contestants, "/s")
        pages = bench.interleaved({"ListJobs": partial(_page, full.socket)}, "ms")
    after = f"with {jobs:,} finished jobs"
    lines = []
    for name, what in (
        ("runs", f"runs of `/bin/true`, {RUNS_CONNECTIONS} connections"),
        ("answers", f"durable answers, {ANSWERS_CONNECTIONS} connections"),
    ):
        ours, before = found[f"{name} full"], found[f"{name} empty"]
        lines.append(Line(f"{what}, {after}", ours, "itself, empty", before, at_least(0.95)))
    bar = at_most(5, "ms")
    return [*lines, Line(f"one page of ListJobs, {after}", pages["ListJobs"], bar=bar)]


def _page(path: Path) -> float:
    """Return the milliseconds from a call to the whole reply."""
    times = []
    with Wire(path) as wire:
        for _ in range(PAGES):
            began = time.perf_counter()
            reply = wire.call("io.hookd.Manager.ListJobs")
            times.append(time.perf_counter() - began)
            assert reply["cursor"], "that was all"
    return statistics.median(times) * 1000


def _fill(directory: Path, jobs: int) -> None:
    """Make a database in which so many jobs have run, each with two events and a run."""
    directory.mkdir(mode=0o700)
    connection = sqlite3.connect(directory / "hookd.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    migrate(connection)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs})"
    # All have ended within the last hour: none is old enough to be pruned.
    usec = f"{time.time_ns() // 1000 - 3_600_000_000} + i * 1000"
    connection.execute(
        f"""INSERT INTO jobs (job_id, state, profile, user, client_ip, client_build_no, attributes,
        tie, allowed, file_count, byte_count, outcome, started_usec, ended_usec, duration_usec,
        uid, boot_id, boottime_usec) {numbers} SELECT i, 'ended', 'profile ' || (i % 100),
        'user' || (i % 1000) || '@example.com', '192.0.2.' || (i % 250), '563', '{{}}', 0, 1, i,
        i * 1000, 'success', {usec}, {usec} + 500, 500, 0, 'an earlier boot', 0 FROM n"""
    )
    for phase in ("start", "end"):
        connection.execute(
            f"INSERT INTO events (job, phase, digest, usec) {numbers} "
            f"SELECT i, '{phase}', randomblob(16), {usec} FROM n"
        )
    connection.execute(
        f"""INSERT INTO runs (job, phase, hook, attempt, state, runner, result, exit_status,
        started_usec, ended_usec, duration_usec, cpu_usec, output_bytes, output_dropped, leftovers,
        survivors) {numbers} SELECT i, 'start', 'true', 1, 'ended', 'an earlier one', 'success', 0,
        {usec}, {usec} + 400, 400, 900, 0, 0, 0, 0 FROM n"""
    )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    size = (directory / "hookd.db").stat().st_size >> 20
    progress(f"{jobs:,} jobs are {size} MiB")
