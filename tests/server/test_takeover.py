# SPDX-License-Identifier: LGPL-2.1-or-later
"""The server may be killed at any moment: its hooks do not notice, their results are not lost."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.runner_unit import RunnerUnit
from tests.support.wire import Wire


@pytest.fixture(scope="module")
def unit(shared: Daemon) -> Iterator[RunnerUnit]:
    """Return a runner of its own process, which has started."""
    runner = RunnerUnit(shared.directory)
    runner.start()
    yield runner
    if shared.process is not None and shared.process.poll() is None:
        assert shared.stop() == 0
    assert runner.stop() == 0


@pytest.fixture(scope="module")
def before(shared: Daemon, unit: RunnerUnit) -> Iterator[dict[str, dict[str, Any]]]:
    """Return a job of each profile as it was when the server was killed, which is back since.

    The hook of `ended` has ended meanwhile, that of `attached` waits for the file of that name.
    """
    for profile, then in (("ended", "touch over\nexit 3"), ("attached", "")):
        wait = f"echo begun\nuntil [ -e {profile} ]; do sleep 0.05; done\n{then}"
        script = shared.script(f"wait-{profile}", f"cd {shared.directory}\n{wait}\n")
        text = f'match.profile = "{profile}"\ncommand = "{script}"\nphases = ["start"]\n'
        shared.hook(profile, text)
    shared.start(*unit.arguments)
    with Wire(shared.socket) as wire:
        ids = [wire.start(profile=profile)["job_id"] for profile in ("ended", "attached")]
        for job_id in ids:
            eventually(partial(runs, wire, job_id))
        jobs = [wire.job(job_id) for job_id in ids]
    shared.kill()
    (shared.directory / "ended").touch()
    eventually((shared.directory / "over").exists)
    shared.start(*unit.arguments)
    yield {job["profile"]: job for job in jobs}
    (shared.directory / "attached").touch()
    result(shared, ids[1])


def runs(wire: Wire, job_id: int) -> bool:
    """Return whether the hook of a job runs."""
    state: str = wire.job(job_id)["hooks"][0]["state"]
    return state == "running"


def result(daemon: Daemon, job_id: int) -> dict[str, Any]:
    """Return the run of a job as soon as it has a result."""
    with Wire(daemon.socket) as wire:
        return eventually(lambda: (run := wire.job(job_id)["hooks"][0])["result"] and run)


def test_a_killed_server_finds_the_result_of_a_hook_it_did_not_see_end(
    shared: Daemon, before: dict[str, dict[str, Any]]
) -> None:
    (run,) = before["ended"]["hooks"]
    after = result(shared, before["ended"]["job_id"])
    assert (after["result"], after["exit_status"]) == ("failed", 3)
    assert after["run_id"] == run["run_id"]
    assert after["started_usec"] == run["started_usec"]
    assert after["output_bytes"] == len("begun\n")
    assert after["cpu_usec"] > 0
    assert after["duration_usec"] > 0


def test_a_hook_that_still_runs_is_attached_to(
    shared: Daemon, before: dict[str, dict[str, Any]]
) -> None:
    job_id = before["attached"]["job_id"]
    with Wire(shared.socket) as wire:
        eventually(lambda: runs(wire, job_id))
    (shared.directory / "attached").touch()
    run = result(shared, job_id)
    assert (run["result"], run["attempt"]) == ("success", 1)
