# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each callback of both processes raises an error once, and all other work goes on.

The points are found in the code (`tests/support/callbacks.py`), so a new callback is tested as
soon as it exists. Each point has a server and a runner of its own. The callback raises before it
does anything, which is harsher than most errors that can really occur there.

Some points still do harm: `KNOWN` in `tests/faults/exceptions.py` lists them with the reason, and
their tests are expected to fail. If such a test passes, it fails as `XPASS(strict)`, and the row
must be removed. `tests/run --all` therefore leaves this tier out.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults import injection
from tests.faults.bench import OWN, Bench
from tests.faults.exceptions import KNOWN, UNREACHED
from tests.support.callbacks import points
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

MAX_HURT = 2  # calls, or runs, that one error may end: those whose callback raised it

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]


def _parameters() -> list[Any]:
    """Return all points that the work of `Bench` reaches; those in KNOWN are expected to fail."""
    names = dict.fromkeys(point.name for point in points())
    return [
        pytest.param(name, id=name, marks=_expected(name))
        for name in names
        if name not in UNREACHED
    ]


def _expected(name: str) -> list[pytest.MarkDecorator]:
    if name not in KNOWN:
        return []
    reason = f"{KNOWN[name]} (where this passes, remove the row of KNOWN)"
    return [pytest.mark.xfail(raises=(AssertionError, OSError), reason=reason, strict=True)]


@pytest.mark.parametrize("point", _parameters())
def test_all_other_work_goes_on(daemon: Daemon, point: str) -> None:
    bench = Bench(daemon)
    try:
        bench.start()
        _raise_once(bench, point)
        statuses = bench.stop()
        assert statuses == {"runner": 0, "server": 0}, bench.said()
    finally:
        bench.close()


def _raise_once(bench: Bench, point: str) -> None:
    """Have the point raise once; check that it is counted and that all other work goes on."""
    before = bench.status()
    since = bench.newest()
    injection.arm(bench.control, point)
    for _ in range(2):
        bench.round()
        if not injection.armed(bench.control):
            break
    raised = not injection.armed(bench.control)
    injection.arm(bench.control, "")
    assert raised, "not reached: extend Bench.round, or add a row with the reason to UNREACHED"
    eventually(bench.well)
    bench.innocent()
    assert bench.hurt <= MAX_HURT, f"{bench.hurt} calls were hurt"
    odd = bench.odd_runs(since)
    assert all(OWN in str(run["reason"]) for run in odd), odd
    assert len(odd) <= MAX_HURT, odd
    assert bench.started_twice() == []
    after = bench.status()
    counts = ("faults", "runner_faults")
    eventually(lambda: sum(bench.status()[name] - before[name] for name in counts) >= 1)
    assert after["pid"] == before["pid"]
