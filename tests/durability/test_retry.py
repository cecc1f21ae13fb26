# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hooks that fail: tried again, so often and no more, over a restart; and parked in the end."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from typing import Any

from hookd.system.records import HOOK_PARKED, HOOK_RESUMED
from tests.durability.hooks import (
    ended,
    let_go,
    noted,
    noting,
    reload,
    running,
    waiting,
)
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.wire import Wire

START = 'phases = ["start"]\n'


def retry(attempts: int, backoff: str) -> str:
    return START + f'[retry]\nattempts = {attempts}\nbackoff = "{backoff}"\n'


def waits(runs: list[dict[str, Any]]) -> list[float]:
    """Return the seconds between each attempt's end and the next one's start."""
    return [
        (later["started_usec"] - earlier["ended_usec"]) / 1e6 for earlier, later in pairwise(runs)
    ]


def test_attempts_are_bounded_doubled_and_spread(common: Daemon) -> None:
    options = retry(4, "200ms") + 'max_backoff = "500ms"\n'
    noting(common, "fails", options, "exit 1")
    reload(common)
    with Wire(common.socket) as wire:
        started = [wire.start()["job_id"] for _ in range(6)]
        jobs = [ended(wire, job, runs=4) for job in started]
    for runs in jobs:
        assert [(run["attempt"], run["result"]) for run in runs] == [
            (attempt, "failed") for attempt in (1, 2, 3, 4)
        ]
        for wait, least in zip(waits(runs), (0.1, 0.2, 0.25), strict=True):
            assert least <= wait < least * 2 + 3
    # Without chance none would wait less than the whole backoff.
    assert any(waits(runs)[2] < 0.5 for runs in jobs)


def test_success_ends_the_attempts(common: Daemon) -> None:
    noting(common, "mends", retry(5, "50ms"), "exit $((HOOKD_ATTEMPT < 3))")
    reload(common)
    with Wire(common.socket) as wire:
        job = wire.start(wait=True)["job_id"]
        results = [run["result"] for run in wire.job(job)["hooks"]]
    assert results == ["failed", "failed", "success"]


def test_what_is_no_failure_is_not_tried_again(common: Daemon) -> None:
    noting(common, "skips", retry(3, "50ms"), "exit 75")
    reload(common)
    with Wire(common.socket) as wire:
        job = wire.start(wait=True)["job_id"]
        assert [run["result"] for run in wire.job(job)["hooks"]] == ["skipped"]


def test_a_retry_survives_a_crash_and_waits_no_longer_for_it(daemon: Daemon) -> None:
    noting(daemon, "fails", retry(2, "2s"), "exit 1")
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        eventually(lambda: len(wire.job(1)["hooks"]) == 2)
    daemon.kill()
    daemon.start()
    with Wire(daemon.socket) as wire:
        runs = ended(wire, 1, runs=2)
    assert [run["attempt"] for run in runs] == [1, 2]
    assert 1 <= waits(runs)[0] < 6
    assert noted(daemon) == ["1 start fails 1", "1 start fails 2"]


def test_a_hook_that_fails_in_a_row_is_parked_until_resumed(
    daemon: Daemon, records: Records
) -> None:
    path = daemon.directory / "broken"
    path.touch()
    options = START + "[retry]\nquarantine_after = 2\n"
    noting(daemon, "hook", options, f"! [ -e {path} ]")
    daemon.start()
    with Wire(daemon.socket) as wire:
        results = [wire.start(wait=True)["hooks"][0]["result"] for _ in range(4)]
        assert results == ["failed", "failed", "skipped", "skipped"]
        assert wire.status()["parked_hooks"] == ["hook"]
        daemon.kill()
        daemon.start()
    with Wire(daemon.socket) as wire:
        run = wire.start(wait=True)["hooks"][0]
        assert (run["result"], run["reason"]) == (
            "skipped",
            "the hook is parked; hookctl resume frees it",
        )
        path.unlink()
        wire.call("io.hookd.Manager.Resume", {"hook": "hook"})
        assert wire.start(wait=True)["hooks"][0]["result"] == "success"
        path.touch()
        assert [wire.start(wait=True)["hooks"][0]["result"] for _ in range(3)] == [
            "failed", "failed", "skipped",
        ]  # fmt: skip
    assert len(records.find(MESSAGE_ID=HOOK_PARKED.message_id)) == 2
    assert len(records.find(MESSAGE_ID=HOOK_RESUMED.message_id)) == 1


def test_a_test_of_a_parked_hook_runs_after_a_restart_too(daemon: Daemon) -> None:
    options = START + "[retry]\nquarantine_after = 1\n"
    noting(daemon, "parked", options + '[match]\nprofile = ["Mail"]\n', "exit 1")
    waiting(daemon, "slow", START + '[match]\nprofile = ["Slow"]\n')
    (daemon.directory / "hookd.toml").write_text("[daemon]\nmax_running = 1\n")
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start(wait=True, profile="Mail")
        wire.start(profile="Slow")
        running(daemon, 2)
        asked = {"hook": "parked", "profile": "Mail", "client_ip": "::1", "phase": "start"}
        wire.send("io.hookd.Manager.TestHook", asked, oneway=True)
        eventually(lambda: wire.status()["waiting"] == 1)
    daemon.kill()
    let_go(daemon, "slow")
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert [run["result"] for run in ended(wire, 3, runs=1)] == ["failed"]


def test_a_reload_of_its_file_frees_a_hook_and_one_of_another_does_not(common: Daemon) -> None:
    options = START + "[retry]\nquarantine_after = 1\n"
    noting(common, "hook", options, "exit 1")
    reload(common)
    with Wire(common.socket) as wire:
        wire.start(wait=True)
        noting(common, "other", 'phases = ["end"]\n')
        reload(common)
        assert wire.status()["parked_hooks"] == ["hook"]
        noting(common, "hook", "order = 51\n" + options)
        reload(common)
        assert wire.status()["parked_hooks"] == []
        assert wire.start(wait=True)["hooks"][0]["result"] == "success"


def test_a_clock_that_was_set_back_delays_a_retry_by_max_backoff_at_most(daemon: Daemon) -> None:
    noting(daemon, "fails", retry(2, "1s") + 'max_backoff = "1s"\n', "exit 1")
    daemon.start()
    with Wire(daemon.socket) as wire:
        wire.start()
        eventually(lambda: len(wire.job(1)["hooks"]) == 2)
    daemon.kill()
    with sqlite3.connect(daemon.directory / "state" / "hookd.db") as database:
        database.execute("UPDATE runs SET due_usec = due_usec + 3600000000 WHERE attempt = 2")
    daemon.start()
    with Wire(daemon.socket) as wire:
        assert [run["attempt"] for run in ended(wire, 1, runs=2)] == [1, 2]
