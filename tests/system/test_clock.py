# SPDX-License-Identifier: LGPL-2.1-or-later
"""In a virtual machine whose clock is set, beside a hook and a retry in wait.

Not with a suspend: emulated machines do not always wake up from one.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.vm import Vm
from tests.system.test_service import RUN_ENDED, RUN_STARTED, hook

LIMIT = 15  # seconds that the hook may run: what is done meanwhile takes two or three
BACKOFF = 16  # seconds before the second attempt, or as little as half of that
LATE = 15  # seconds that anything may be late in an emulated machine
HOUR = 3600
JUMPS = {  # what is done, and by how many seconds the clock on the wall is ahead of the other
    "an hour ahead": ("date -s '+1 hour'", HOUR),
    "an hour back": ("date -s '-1 hour'", -HOUR),
}
# Both hooks run and the first attempt has failed when it is done.
SCENE = """
rm -f /run/failed
hookctl start --profile clock --user u --client-ip 192.0.2.1
until [ -e /run/failed ]; do sleep 0.1; done
{jump} >&2
"""


@pytest.fixture(scope="module")
def clock(vm: Vm) -> Vm:
    """Return a machine with a hook that never ends and one that fails."""
    job = 'phases = ["start"]\nmatch.profile = "clock"\nrun.user = "root"\n'
    retry = f'[retry]\nattempts = 2\nbackoff = "{BACKOFF}s"\nmax_backoff = "{BACKOFF}s"\n'
    hook(vm, "endless", "/bin/sleep 100000", f'{job}[limits]\ntimeout = "{LIMIT}s"\n')
    hook(vm, "fails", "/bin/sh -c 'touch /run/failed; exit 1'", job + retry)
    return vm


def ended(vm: Vm, job: str) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the runs of a job by hook and attempt, once all three have ended."""
    runs: list[dict[str, Any]] = []

    def all_ended() -> bool:
        runs[:] = json.loads(vm.read(f"hookctl --json job {job}"))["hooks"]
        return len(runs) == 3 and all(run["state"] == "ended" for run in runs)

    vm.until(all_ended)
    return {(run["hook"], run["attempt"]): run for run in runs}


def moment(vm: Vm, job: str, kind: str, hook: str, attempt: int) -> float:
    """Return when the journal got a record, in seconds of the monotonic clock."""
    wanted = f"HOOKD_JOB_ID={job} HOOKD_HOOK={hook} HOOKD_ATTEMPT={attempt} MESSAGE_ID={kind}"
    (record,) = vm.records(wanted)
    return int(record["__MONOTONIC_TIMESTAMP"]) / 1e6


@pytest.mark.parametrize("name", JUMPS)
def test_a_clock_that_is_set(clock: Vm, name: str) -> None:
    jump, ahead = JUMPS[name]
    job = clock.read(SCENE.format(jump=jump))
    runs = ended(clock, job)
    run = runs["endless", 1]
    assert run["result"] == "timeout"
    assert LIMIT <= run["duration_usec"] / 1e6 <= LIMIT + LATE
    by_the_wall = (run["ended_usec"] - run["started_usec"] - run["duration_usec"]) / 1e6
    assert abs(by_the_wall - ahead) < 5
    assert [runs["fails", n]["result"] for n in (1, 2)] == ["failed", "failed"]
    failed = moment(clock, job, RUN_ENDED, "fails", 1)
    waited = moment(clock, job, RUN_STARTED, "fails", 2) - failed
    assert BACKOFF / 2 - 1 <= waited <= BACKOFF + LATE
    assert clock.read("systemctl show -P NRestarts hookd hookd-runner").split() == ["0", "0"]
