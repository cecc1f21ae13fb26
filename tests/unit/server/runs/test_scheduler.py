# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may start now: order within a job, due times, slots, drops and cancellations."""

from __future__ import annotations

from hookd.model import Phase, Result
from hookd.server.runs.run import RunPhase
from hookd.server.runs.scheduler import Drop, Stop, at_once
from tests.unit.making import configuration
from tests.unit.server.runs.plan import begun, reasons, schedule, waiting

END = Phase.END


def test_end_hooks_wait_for_the_start_hooks_of_their_job_alone() -> None:
    plan = schedule()
    assert plan.add([waiting(1, job=1), waiting(2, job=1), waiting(3, job=2)], 0) == []
    plan.add([waiting(4, job=1, phase=END), waiting(5, job=2, phase=END)], 0)
    assert begun(plan) == [1, 2, 3]
    plan.finish(3, 0)
    assert begun(plan) == [5]
    plan.finish(1, 0)
    assert begun(plan) == []
    plan.finish(2, 0)
    assert begun(plan) == [4]


def test_an_end_waits_for_the_retries_of_its_starts() -> None:
    plan = schedule()
    plan.add([waiting(1, job=1)], 0)
    assert begun(plan) == [1]
    plan.add([waiting(2, job=1, phase=END)], 0)
    plan.finish(1, 0, waiting(3, job=1, attempt=2, due=5.0))
    assert (begun(plan), plan.next_due) == ([], 5.0)
    assert (plan.tick(4.9), begun(plan)) == ([], [])
    assert (plan.tick(5.0), begun(plan), plan.next_due) == ([], [3], None)
    plan.finish(3, 6)
    assert begun(plan) == [2]


def test_start_hooks_wait_for_the_gates_of_their_job() -> None:
    plan = schedule(h="", g='kind = "gate"')
    plan.add([waiting(1, job=1), waiting(2, "g", job=1, gate=True), waiting(3, job=2)], 0)
    plan.add([waiting(4, job=1, phase=END)], 0)
    assert begun(plan) == [2, 3]
    plan.finish(2, 0)
    assert begun(plan) == [1]


def test_start_hooks_go_on_when_their_job_is_decided_without_its_gate() -> None:
    plan = schedule(h="", g='kind = "gate"')
    plan.add([waiting(1, job=1), waiting(2, "g", job=1, gate=True)], 0)
    plan.add([waiting(4, job=1, phase=END)], 0)
    assert begun(plan) == [2]
    assert (plan.decided(plan.open[2], 0), plan.decided(plan.open[2], 0)) == ([], [])
    assert begun(plan) == [1]
    plan.finish(1, 0)
    assert begun(plan) == []  # the gate's run has not ended
    plan.finish(2, 0)
    assert begun(plan) == [4]


def test_what_a_run_waits_for_in_words() -> None:
    hooks = {"h": "run.max_running = 1", "s": 'run.overlap = "serial"', "g": ""}
    plan = schedule("daemon.max_running = 2", **hooks)
    runs = [waiting(1), waiting(2), waiting(3, "s"), waiting(4, "s"), waiting(5, "g")]
    plan.add([*runs, late := waiting(6, "g", attempt=2, due=5.0)], 0)
    assert plan.obstacle(runs[4], 0) == "it has not had its turn"
    assert begun(plan) == [1, 3]
    assert [plan.obstacle(runs[at], 0) for at in (1, 3, 4)] == [
        "all 2 slots are taken",
        "run 3 has not ended, and overlap is serial",
        "all 2 slots are taken",
    ]
    assert plan.obstacle(late, 4.9) == "its attempt 2 is not due yet"
    plan.finish(3, 0)
    assert plan.obstacle(runs[1], 0) == "all 1 slots of the hook are taken"


def test_the_order_among_the_hooks_of_a_phase() -> None:
    plan = schedule("daemon.max_running = 2", a="order = 9", b="order = 1", c="order = 5")
    plan.add([waiting(1, "a", order=9), waiting(2, "b", order=1), waiting(3, "c", order=5)], 0)
    assert begun(plan) == [2, 3]


def test_slots_in_all_and_of_a_hook() -> None:
    plan = schedule("daemon.max_running = 3", a="run.max_running = 2", b="run.max_running = 2")
    plan.add([waiting(n, "a" if n < 5 else "b") for n in range(1, 9)], 0)
    assert begun(plan) == [1, 2, 5]
    assert (plan.running, plan.waiting) == (3, 5)
    assert (plan.counts("a"), plan.counts("b"), plan.counts("x")) == ((2, 2), (1, 3), (0, 0))
    plan.finish(8, 0)  # dropped while it waited
    assert plan.counts("b") == (1, 2)
    plan.finish(1, 0)
    assert begun(plan) == [3]
    assert plan.counts("a") == (2, 1)
    plan.finish(5, 0)
    assert begun(plan) == [6]
    plan.finish(2, 0)
    assert begun(plan) == [4]


def test_a_thousand_of_one_hook_do_not_keep_another_waiting() -> None:
    plan = schedule("daemon.max_running = 4", a="run.max_running = 4\norder = 1", b="")
    plan.add([waiting(n, "a", order=1) for n in range(1, 1001)], 0)
    assert begun(plan) == [1, 2, 3, 4]
    plan.add([waiting(1001, "b")], 0)
    plan.finish(2, 0)
    assert begun(plan) == [1001]


def test_runs_of_one_hook_start_in_the_order_of_their_events() -> None:
    plan = schedule("daemon.max_running = 1")
    plan.add([waiting(n) for n in (5, 3, 9, 1)], 0)
    order = []
    while runs := begun(plan):
        order += runs
        plan.finish(runs[0], 0)
    assert order == [1, 3, 5, 9]


def test_obsolete_start_hooks_are_dropped_only_on_request_and_only_while_they_wait() -> None:
    plan = schedule("daemon.max_running = 2", a='obsolete = "skip"', b="", c='obsolete = "skip"')
    plan.add([waiting(1, "a", job=1)], 0)
    assert begun(plan) == [1]
    plan.add([waiting(2, "a", job=1), waiting(3, "b", job=1), waiting(4, "c", job=2)], 0)
    drops = plan.job_ended(1)
    assert reasons(drops) == [(2, "its job has ended before its turn")]
    assert drops[0].result is Result.SKIPPED
    plan.finish(2, 0)
    plan.add([waiting(5, "a", job=1, phase=END)], 0)
    assert (plan.job_ended(1), plan.job_ended(99)) == ([], [])
    assert begun(plan) == [3]


def test_cancel_what_waits_and_what_runs() -> None:
    plan = schedule("daemon.max_running = 1")
    one, two = waiting(1), waiting(2)
    plan.add([one, two], 0)
    assert begun(plan) == [1]
    stop, drop = plan.cancel([one, two], "by uid 0")
    assert isinstance(stop, Stop)
    assert isinstance(drop, Drop)
    assert (drop.result, drop.reason) == (Result.CANCELLED, "by uid 0")
    assert plan.cancel([two], "again") == []
    plan.finish(1, 0)
    assert begun(plan) == []
    plan.finish(2, 0)
    assert (plan.waiting, plan.running) == (0, 0)


def test_a_parked_hook_skips_and_others_go_on() -> None:
    plan = schedule(a="", b="")
    plan.parked.add("a")
    plan.add([waiting(1, "a"), waiting(2, "b")], 0)
    starts, drops = plan.claim()
    assert [run.run_id for run in starts] == [2]
    assert reasons(drops) == [(1, "the hook is parked; hookctl resume frees it")]
    assert drops[0].result is Result.SKIPPED
    plan.finish(1, 0)
    plan.parked.clear()
    plan.add([waiting(3, "a")], 0)
    assert begun(plan) == [3]


def test_a_hook_that_is_gone_is_cancelled() -> None:
    plan = schedule(a="")
    plan.add([waiting(1, "a"), waiting(2, "x"), waiting(3, "x")], 0)
    plan.configure(configuration())
    starts, drops = plan.claim()
    assert starts == []
    assert reasons(drops) == [(n, "the hook is configured no longer") for n in (1, 2, 3)]
    assert {drop.result for drop in drops} == {Result.CANCELLED}


def test_what_could_not_be_started_is_put_back_in_its_place() -> None:
    plan = schedule("daemon.max_running = 2", h="run.max_running = 2")
    plan.add([waiting(1), waiting(2), waiting(3)], 0)
    starts, _ = plan.claim()
    plan.put_back(starts)
    assert {start.phase for start in starts} == {RunPhase.READY}
    assert (plan.running, plan.waiting, plan.counts("h")) == (0, 3, (0, 3))
    assert begun(plan) == [1, 2]


def test_an_end_that_was_handed_over_too_early_waits_for_its_start() -> None:
    plan = schedule(h='run.overlap = "serial"')
    plan.adopt(waiting(1, job=1))
    early = waiting(2, job=1, phase=END, overlap_key="other")
    plan.adopt(early)
    plan.add([waiting(3, overlap_key="other")], 0)
    plan.put_back([early])  # the runner that is there now has never seen it
    assert (plan.running, plan.waiting) == (1, 2)
    assert begun(plan) == [3]
    plan.finish(3, 0)
    plan.finish(1, 0)
    assert begun(plan) == [2]


def test_due_times_and_their_order() -> None:
    plan = schedule()
    plan.add([waiting(1, due=5.0), waiting(2, due=3.0), waiting(3, due=1.0)], 2.0)
    assert begun(plan) == [3]
    assert plan.next_due == 3.0
    plan.cancel([plan.open[2]], "away")
    plan.finish(2, 3.0)
    assert plan.tick(5.0) == []
    assert begun(plan) == [1]
    assert plan.next_due is None


def test_an_end_that_is_due_later_waits_for_its_start_and_for_its_time() -> None:
    plan = schedule()
    plan.add([waiting(1, job=1), waiting(2, job=1, phase=END, due=5.0)], 0)
    assert begun(plan) == [1]
    plan.finish(1, 3.0)
    assert (begun(plan), plan.next_due) == ([], 5.0)
    assert (plan.tick(5.0), begun(plan)) == ([], [2])


def test_adopted_runs_hold_their_slot_their_key_and_their_job() -> None:
    plan = schedule("daemon.max_running = 2", h='run = {overlap = "serial", max_running = 2}')
    plan.adopt(waiting(1, job=1, overlap_key="a"))
    plan.add(
        [
            waiting(2, overlap_key="a"),
            waiting(3, job=1, overlap_key="b", phase=END),
            waiting(4, overlap_key="c"),
        ],
        0,
    )
    assert (plan.running, plan.waiting) == (1, 3)
    assert begun(plan) == [4]
    plan.finish(4, 0)
    plan.finish(1, 0)
    assert begun(plan) == [2, 3]


def test_what_is_known_of_a_job() -> None:
    plan = schedule()
    one = waiting(1, job=1)
    plan.add([one], 0)
    assert (plan.of_job(1), plan.of_job(2)) == ([one], [])
    plan.finish(1, 0)
    assert plan.of_job(1) == []
    assert begun(plan) == []  # what has ended otherwise is not started any more


def test_how_many_runs_of_a_hook_surely_run_at_once() -> None:
    config = configuration(
        many="[run]\nmax_running = 5\n",
        serial='[run]\nmax_running = 5\noverlap = "serial"\n',
    )
    assert at_once(config.hooks["many"]) == 5
    assert at_once(config.hooks["serial"]) == 1
