# SPDX-License-Identifier: LGPL-2.1-or-later
"""Any order of events against the schedule: what must hold after every step, and at the end."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hookd.config.parse import Config
from hookd.model import Phase
from hookd.server.runs.run import Run, RunPhase
from hookd.server.runs.scheduler import Decision, Drop, Scheduler, Stop
from tests.unit.making import configuration, waiting_run

DAEMON = "daemon.max_running = 4"
HOOKS = {
    "free": "run.max_running = 3",
    "one": "run.max_running = 1\norder = 3",
    "serial": 'run.overlap = "serial"',
    "skip": 'run.overlap = "skip"\nobsolete = "skip"',
    "replace": 'run.overlap = "replace"\nrun.max_running = 4',
    "gate": 'kind = "gate"\norder = 90',
}
EXCLUSIVE = {"serial", "skip", "replace"}
LIMITS = {"free": 3, "one": 1, "serial": 2, "skip": 2, "replace": 4, "gate": 2}
CONFIG = configuration(DAEMON, **HOOKS)
PARALLEL, SERIAL = 'run.overlap = "parallel"', 'run.overlap = "serial"'
OTHERS = (
    configuration(DAEMON, **(HOOKS | {"serial": PARALLEL, "skip": SERIAL})),
    configuration(DAEMON, **(HOOKS | {"replace": "run.max_running = 4", "free": SERIAL})),
    configuration(DAEMON, **{name: text for name, text in HOOKS.items() if name != "skip"}),
)
steps = st.integers(0, 2**16)


class Runs(RuleBasedStateMachine):
    """The schedule, driven as the dispatcher drives it: a drop is written before it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.config: Config = CONFIG
        self.reloaded = False
        self.plan = Scheduler(CONFIG)
        self.next_id = 1
        self.open: dict[int, Run] = {}
        self.running: set[int] = set()
        self.dropped: set[int] = set()
        self.ended_jobs: set[int] = set()
        self.jobs = 0

    def ticket(self, job: int, phase: Phase, hook: str, key: str, attempt: int = 1) -> Run:
        configured = self.config.hooks.get(hook)
        made = waiting_run(self.next_id, hook, job, phase, attempt, overlap_key=key)
        if configured is not None:
            made.order = configured.order
            made.gate = configured.is_gate and made.at_start
        self.next_id += 1
        self.open[made.run_id] = made
        return made

    def carry_out(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            run_id = decision.run.run_id
            if isinstance(decision, Drop):
                assert run_id not in self.running
                assert run_id not in self.dropped, "dropped twice"
                self.dropped.add(run_id)
            else:
                assert isinstance(decision, Stop)
                assert run_id in self.running

    def end(self, run_id: int, retry: Run | None = None) -> None:
        run = self.open.pop(run_id)
        self.running.discard(run_id)
        self.dropped.discard(run_id)
        run.end()
        decisions = self.plan.ended(run, self.now, retry)
        run.enter(RunPhase.ENDED)
        self.carry_out(decisions)

    def pick(self, among: Iterable[int], step: int) -> int:
        ordered = sorted(among)
        return ordered[step % len(ordered)]

    @initialize(
        hooks=st.lists(st.sampled_from(["free", "one", "serial"]), max_size=3, unique=True),
        early=st.booleans(),
    )
    def found_running(self, hooks: list[str], early: bool) -> None:
        for hook in hooks:
            self.jobs += 1
            adopted = self.ticket(self.jobs, Phase.START, hook, "a")
            self.running.add(adopted.run_id)
            self.plan.adopt(adopted)
            if early:  # handed over by an earlier instance, and never come to the runner
                self.ended_jobs.add(self.jobs)
                end = self.ticket(self.jobs, Phase.END, hook, "b")
                self.plan.adopt(end)
                self.plan.put_back([end])

    @rule(hooks=st.sets(st.sampled_from(sorted(HOOKS)), min_size=1), key=st.sampled_from("ab"))
    def start_job(self, hooks: set[str], key: str) -> None:
        self.jobs += 1
        made = [self.ticket(self.jobs, Phase.START, hook, key) for hook in sorted(hooks)]
        self.carry_out(self.plan.add(made, self.now))

    @precondition(lambda self: len(self.ended_jobs) < self.jobs)
    @rule(hooks=st.sets(st.sampled_from(sorted(HOOKS))), key=st.sampled_from("ab"), step=steps)
    def end_job(self, hooks: set[str], key: str, step: int) -> None:
        job = self.pick(set(range(1, self.jobs + 1)) - self.ended_jobs, step)
        self.ended_jobs.add(job)
        self.carry_out(self.plan.job_ended(job))
        made = [self.ticket(job, Phase.END, hook, key) for hook in sorted(hooks)]
        self.carry_out(self.plan.add(made, self.now))

    @rule(refused=st.booleans())
    def begin(self, refused: bool) -> None:
        before = self.plan.running
        runs, drops = self.plan.claim()
        self.carry_out(drops)
        for started in runs:
            self.check_start(started)
            self.running.add(started.run_id)
        assert self.plan.running <= max(before, 4)
        self.check_limits()
        if refused:  # the disk did not take it
            self.plan.put_back(runs)
            self.running -= {run.run_id for run in runs}

    def check_start(self, started: Run) -> None:
        assert started.run_id in self.open, "started after its end"
        assert started.run_id not in self.running, "started twice"
        assert started.run_id not in self.dropped, "started and dropped"
        assert started.hook in self.config.hooks
        assert started.hook not in self.plan.parked
        assert started.due is None or started.due <= self.now
        for other in self.open.values():
            if other.job == started.job and other.at_start and other is not started:
                assert started.at_start, "an end before a start of its job"
                assert not other.gate or started.gate, "a start before a gate of its job"

    def check_limits(self) -> None:
        for hook, most in LIMITS.items():
            taken = [self.open[n] for n in self.running if self.open[n].hook == hook]
            assert len(taken) <= most
            if hook in EXCLUSIVE and not self.reloaded:
                assert len({t.overlap_key for t in taken}) == len(taken), "rivals side by side"

    @precondition(lambda self: self.running)
    @rule(step=steps, again=st.sampled_from([None, None, 0.0, 5.0]))
    def finish(self, step: int, again: float | None) -> None:
        done = self.open[self.pick(self.running, step)]
        retry = None
        if again is not None and done.info.attempt < 4:
            retry = self.ticket(
                done.job, done.info.phase, done.hook, done.overlap_key, done.info.attempt + 1
            )
            retry.due = self.now + again
        self.end(done.run_id, retry)

    @precondition(lambda self: self.dropped)
    @rule(step=steps)
    def write_a_drop(self, step: int) -> None:
        self.end(self.pick(self.dropped, step))

    @precondition(lambda self: self.open)
    @rule(step=steps)
    def cancel(self, step: int) -> None:
        self.carry_out(self.plan.cancel([self.open[self.pick(self.open, step)]], "cancelled"))

    @rule(seconds=st.sampled_from([0.5, 5.0, 60.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out(self.plan.tick(self.now))
        assert self.plan.next_due is None or self.plan.next_due > self.now

    @rule(hook=st.sampled_from(sorted(HOOKS)))
    def park_or_resume(self, hook: str) -> None:
        self.plan.parked ^= {hook}

    @rule(config=st.sampled_from([CONFIG, *OTHERS]))
    def reload(self, config: Config) -> None:
        self.reloaded |= config is not self.config
        self.config = config
        self.plan.configure(config)

    @invariant()
    def counts_are_true(self) -> None:
        assert self.plan.running == len(self.running)
        assert self.plan.waiting == len(self.open) - len(self.running)
        for hook in HOOKS:
            mine = {n for n, ticket in self.open.items() if ticket.hook == hook}
            running = len(mine & self.running)
            assert self.plan.counts(hook) == (running, len(mine) - running)

    def teardown(self) -> None:
        """Let everything end: nothing may be left waiting, and nothing remembered."""
        self.plan.parked.clear()
        for _ in range(2 * len(self.open) + 4):
            self.time_goes_on(60.0)
            self.begin(refused=False)
            for run_id in sorted(self.running | self.dropped):
                self.end(run_id)
        assert self.open == {}, "forgotten"
        self.time_goes_on(60.0)
        assert self.plan.next_due is None
        assert not (self.plan._jobs or self.plan._rivals)
        assert all(lane.first() is None for lane in self.plan._lanes.values())


def test_any_order_of_events() -> None:
    run_state_machine_as_test(
        Runs, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )
