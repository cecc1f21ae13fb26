# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs with the same overlap key: which of them wait, are dropped or replace others."""

from __future__ import annotations

import pytest

from hookd.model import Phase, Result
from hookd.server.runs.scheduler import Drop, Stop
from tests.unit.making import configuration
from tests.unit.server.runs.plan import begun, reasons, schedule, waiting

END = Phase.END


def test_parallel_runs_have_no_rivals() -> None:
    plan = schedule(h='run.overlap = "parallel"')
    assert plan.add([waiting(1), waiting(2)], 0) == []
    assert begun(plan) == [1, 2]


def test_serial_runs_follow_each_other_in_order_by_their_key() -> None:
    plan = schedule(h='run.overlap = "serial"')
    plan.add(
        [
            waiting(2, overlap_key="a"),
            waiting(1, overlap_key="a"),
            waiting(3, overlap_key="b"),
            waiting(4, overlap_key="a"),
        ],
        0,
    )
    assert begun(plan) == [1, 3]
    plan.finish(3, 0)
    assert begun(plan) == []
    plan.finish(1, 0)
    assert begun(plan) == [2]
    plan.finish(2, 0)
    assert begun(plan) == [4]


def test_skip_drops_the_newer_and_names_the_other() -> None:
    plan = schedule(h='run.overlap = "skip"')
    decisions = plan.add(
        [waiting(1, overlap_key="a"), waiting(2, overlap_key="a"), waiting(3, overlap_key="b")], 0
    )
    assert reasons(decisions) == [(2, "run 1 has not ended")]
    assert isinstance(decisions[0], Drop)
    assert decisions[0].result is Result.SKIPPED
    plan.finish(2, 0)
    assert begun(plan) == [1, 3]
    assert reasons(plan.add([waiting(4, overlap_key="a")], 0)) == [(4, "run 1 has not ended")]
    plan.finish(4, 0)
    plan.finish(1, 0)
    assert plan.add([waiting(5, overlap_key="a")], 0) == []
    assert begun(plan) == [5]


def test_replace_ends_the_older_whether_it_waits_or_runs() -> None:
    plan = schedule(h='run.overlap = "replace"')
    plan.add([waiting(1)], 0)
    assert begun(plan) == [1]
    (stop,) = plan.add([waiting(2)], 0)
    assert isinstance(stop, Stop)
    assert reasons([stop]) == [(1, "replaced by run 2")]
    again = plan.add([waiting(3)], 0)
    assert reasons(again) == [(1, "replaced by run 3"), (2, "replaced by run 3")]
    assert isinstance(again[1], Drop)
    assert again[1].result is Result.CANCELLED
    plan.finish(2, 0)
    assert begun(plan) == []
    plan.finish(1, 0)
    assert begun(plan) == [3]


def test_what_comes_late_of_an_older_event_replaces_nothing_newer() -> None:
    plan = schedule(h='run.overlap = "replace"', other="")
    plan.add([waiting(1, job=1), waiting(2, "other", job=1)], 0)
    assert begun(plan) == [1, 2]
    end = waiting(3, job=1, phase=END)
    plan.add([end], 0)
    plan.finish(1, 0, waiting(5, job=1, attempt=2, due=5.0))
    plan.add([waiting(4, job=2)], 0)
    assert begun(plan) == [4]
    assert reasons(plan.tick(5.0)) == [(5, "replaced by run 4")]
    plan.finish(2, 6)
    assert plan.finish(5, 6) == [Drop(end, Result.CANCELLED, "replaced by run 4")]
    plan.finish(4, 6, waiting(6, job=2, attempt=2))
    assert begun(plan) == [6]


@pytest.mark.parametrize("overlap", ["parallel", "serial", "skip", "replace"])
def test_a_run_is_no_rival_of_its_own_next_attempt(overlap: str) -> None:
    plan = schedule(h=f'run.overlap = "{overlap}"')
    plan.add([waiting(1, job=1)], 0)
    assert begun(plan) == [1]
    assert plan.finish(1, 1.0, waiting(2, job=1, attempt=2, due=1.0)) == []
    assert begun(plan) == [2]


def test_what_waited_for_its_rivals_goes_on_when_it_has_none_any_more() -> None:
    plan = schedule(h='run.overlap = "serial"')
    plan.add([waiting(1), waiting(2), waiting(3)], 0)
    assert begun(plan) == [1]
    plan.configure(configuration(h='run.overlap = "serial"\norder = 7'))
    assert begun(plan) == []
    plan.configure(configuration(h='run.overlap = "parallel"'))
    assert begun(plan) == [2, 3]


def test_whose_time_has_come_may_have_a_rival_by_then() -> None:
    plan = schedule(h='run.overlap = "skip"')
    plan.add([waiting(1, due=5.0), waiting(2)], 0)
    assert begun(plan) == [2]
    assert reasons(plan.tick(5.0)) == [(1, "run 2 has not ended")]
