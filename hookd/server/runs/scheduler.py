# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which run may start now: order within a job, rivals, slots, and fairness between hooks.

Decides and never acts: runs and times go in, decisions come out. A run passes four conditions, and
has a phase for each while it waits: the order of its job (`HELD`: start hooks wait for gates, end
hooks for start hooks), its due time (`DELAYED`: retries), its rivals (`BLOCKED`: `overlap`), and a
free slot (`READY`). Pure.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable

import msgspec

from hookd.config.parse import Config, Hook
from hookd.model import Result
from hookd.server.runs.run import Run, RunPhase

REFUSED = "the start of its job was refused"


class Drop(msgspec.Struct, frozen=True):
    """A decision: the run ends without having been started."""

    run: Run
    result: Result
    reason: str


class Stop(msgspec.Struct, frozen=True):
    """A decision: the run has a slot and is to be cancelled."""

    run: Run
    reason: str


Decision = Drop | Stop


class _Job(msgspec.Struct):
    """One job: how many of its gates and start runs have not ended, and what waits for them."""

    gates: int = 0
    starts: int = 0
    runs: dict[int, Run] = {}
    held: list[Run] = []

    def holds(self, run: Run) -> bool:
        if not run.at_start:
            return self.starts > 0
        return self.gates > 0 and not run.gate

    def release(self) -> list[Run]:
        held, self.held = self.held, []
        return [run for run in held if run.phase is RunPhase.HELD]


class _Lane(msgspec.Struct):
    """One hook: its runs that are ready, oldest first, and how many of its runs have a slot."""

    running: int = 0
    waiting: int = 0
    ready: list[tuple[int, Run]] = []

    def push(self, run: Run) -> None:
        run.enter(RunPhase.READY)
        heapq.heappush(self.ready, (run.run_id, run))

    def pop(self) -> None:
        heapq.heappop(self.ready)

    def first(self) -> Run | None:
        """Return the oldest run that is ready; runs dropped meanwhile are removed."""
        while self.ready and self.ready[0][1].phase is not RunPhase.READY:
            heapq.heappop(self.ready)
        return self.ready[0][1] if self.ready else None


class Scheduler:
    """All runs that have not ended. `waiting` and `running` count them.

    `parked` holds the hooks in quarantine: only their test runs start.
    """

    def __init__(self, config: Config) -> None:
        self.waiting = 0
        self.running = 0
        self.parked: set[str] = set()
        self._config = config
        self._jobs: dict[int, _Job] = {}
        self._lanes: defaultdict[str, _Lane] = defaultdict(_Lane)
        self._rivals: dict[tuple[str, str], dict[int, Run]] = {}
        self._timers: list[tuple[float, int, Run]] = []

    def configure(self, config: Config) -> None:
        """Take new limits and policies; they apply from the next decision on."""
        self._config = config
        for (hook, _), rivals in self._rivals.items():
            if _overlap(config, hook) == "parallel":  # from now on they wait for slots only
                for run in rivals.values():
                    if run.phase is RunPhase.BLOCKED:
                        self._lanes[run.hook].push(run)

    def of_job(self, job: int) -> list[Run]:
        """Return the runs of one job."""
        return list(self._jobs[job].runs.values()) if job in self._jobs else []

    def counts(self, hook: str) -> tuple[int, int]:
        """Return how many runs of a hook are running and waiting."""
        lane = self._lanes.get(hook, _Lane())
        return lane.running, lane.waiting

    def add(self, runs: Iterable[Run], now: float) -> list[Decision]:
        """Take runs that wait; runs of one job that are known at the same time come together."""
        runs = sorted(runs, key=lambda run: run.run_id)
        for run in runs:
            self._count_in(run)
            self.waiting += 1
            self._lanes[run.hook].waiting += 1
        decisions: list[Decision] = []
        for run in runs:
            self._advance(run, now, decisions)
        return decisions

    def adopt(self, run: Run) -> None:
        """Take a run that is handed over already and so has its slot."""
        run.enter(RunPhase.HANDED)
        self._count_in(run)
        self._rivals.setdefault((run.hook, run.overlap_key), {})[run.run_id] = run
        self._occupy(run)

    def claim(self) -> tuple[list[Run], list[Drop]]:
        """Give free slots to ready runs; return these in start order, and the drops.

        A slot goes to the hook with the fewest runs running, so that no hook keeps another one
        waiting.
        """
        claimed: list[Run] = []
        drops: list[Drop] = []
        while (run := self._next()) is not None:
            reason = _unwanted(self._config, self.parked, run)
            if reason is not None:
                _drop(run, reason[0], reason[1], drops)
                continue
            self._lanes[run.hook].pop()
            run.enter(RunPhase.CLAIMED)
            self.waiting -= 1
            self._lanes[run.hook].waiting -= 1
            self._occupy(run)
            claimed.append(run)
        claimed.sort(key=lambda run: (run.order, run.run_id))
        return claimed, drops

    def put_back(self, runs: Iterable[Run]) -> None:
        """Take the slots of runs that have not reached the runner: they wait again."""
        for run in runs:
            lane, job = self._lanes[run.hook], self._jobs[run.job]
            self.running -= 1
            lane.running -= 1
            self.waiting += 1
            lane.waiting += 1
            if job.holds(run):  # an earlier instance handed it over too early
                self._release_rival(run)
                run.enter(RunPhase.HELD)
                job.held.append(run)
            else:
                lane.push(run)

    def ended(self, run: Run, now: float, retry: Run | None = None) -> list[Decision]:
        """Note that a run has ended; `retry` is its next attempt."""
        if run.run_id not in self._jobs.get(run.job, _Job()).runs:
            return []
        lane = self._lanes[run.hook]
        if run.has_slot:
            self.running -= 1
            lane.running -= 1
        else:
            self.waiting -= 1
            lane.waiting -= 1
        decisions: list[Decision] = []
        self._release_rival(run)  # before its own next attempt takes it for a rival
        if retry is not None:  # before the job's count can fall to zero
            retry.first = run.origin
            decisions += self.add([retry], now)
        self._count_out(run, now, decisions)
        return decisions

    def decided(self, gate: Run, now: float) -> list[Decision]:
        """Let a job go on that was decided without this run, which is no longer a gate."""
        decisions: list[Decision] = []
        if gate.gate:
            gate.gate = False
            job = self._jobs[gate.job]
            job.gates -= 1
            for other in job.release():
                self._advance(other, now, decisions)
        return decisions

    def refused(self, job: int) -> list[Decision]:
        """Return the drops that follow from the refusal of a job: those of its waiting start runs.

        If the job's end came before the refusal, the end hooks run as usual.
        """
        waiting = [run for run in self.of_job(job) if run.at_start and not run.has_slot]
        return self.cancel(waiting, REFUSED)

    def obstacle(self, run: Run, now: float) -> str:
        """Return in words what a waiting run waits for."""
        lane, hook = self._lanes[run.hook], self._config.hooks.get(run.hook)
        if run.due is not None and run.due > now:
            return f"its attempt {run.info.attempt} is not due yet"
        if run.phase is RunPhase.BLOCKED:
            rival = next(iter(self._rivals[run.hook, run.overlap_key]))
            return f"run {rival} has not ended, and overlap is serial"
        if self.running >= self._config.daemon.max_running:
            return f"all {self._config.daemon.max_running} slots are taken"
        if hook is not None and lane.running >= hook.run.max_running:
            return f"all {hook.run.max_running} slots of the hook are taken"
        return "it has not had its turn"

    def job_ended(self, job: int) -> list[Drop]:
        """Return the drops of waiting start runs that the end of their job makes obsolete."""
        return self.obsolete(self.of_job(job))

    def obsolete(self, runs: Iterable[Run]) -> list[Drop]:
        """Return the drops of those of these runs that `obsolete = "skip"` ends."""
        drops: list[Drop] = []
        for run in runs:
            hook = self._config.hooks.get(run.hook)
            if run.at_start and hook is not None and hook.obsolete == "skip":
                _drop(run, Result.SKIPPED, "its job has ended before its turn", drops)
        return drops

    def cancel(self, runs: Iterable[Run], reason: str) -> list[Decision]:
        """Return the decisions that end these runs, whether they wait or run."""
        decisions: list[Decision] = []
        for run in runs:
            if run.has_slot:
                decisions.append(Stop(run, reason))
            else:
                _drop(run, Result.CANCELLED, reason, decisions)
        return decisions

    def tick(self, now: float) -> list[Decision]:
        """Let the runs go on that have become due."""
        decisions: list[Decision] = []
        while self._timers and self._timers[0][0] <= now:
            run = heapq.heappop(self._timers)[2]
            if run.phase is RunPhase.DELAYED:
                self._contend(run, decisions)
        return decisions

    @property
    def next_due(self) -> float | None:
        """The moment at which `tick` is to be called next, None if no run waits to become due."""
        return self._timers[0][0] if self._timers else None

    # The conditions for a start.

    def _advance(self, run: Run, now: float, decisions: list[Decision]) -> None:
        job = self._jobs[run.job]
        if job.holds(run):
            if run.phase is not RunPhase.HELD:
                run.enter(RunPhase.HELD)
            job.held.append(run)
        elif run.due is not None and run.due > now:
            run.enter(RunPhase.DELAYED)
            heapq.heappush(self._timers, (run.due, run.run_id, run))
        else:
            self._contend(run, decisions)

    def _contend(self, run: Run, decisions: list[Decision]) -> None:
        overlap = _overlap(self._config, run.hook)
        rivals = self._rivals.setdefault((run.hook, run.overlap_key), {})
        if overlap == "skip" and rivals:
            other = next(iter(rivals))
            _drop(run, Result.SKIPPED, f"run {other} has not ended", decisions)
            return
        if overlap == "replace":
            newer = next(
                (other.run_id for other in rivals.values() if other.origin > run.origin), 0
            )
            if newer:  # this run is a retry or an end that had to wait, of an earlier event
                _drop(run, Result.CANCELLED, f"replaced by run {newer}", decisions)
                return
            decisions += self.cancel(rivals.values(), f"replaced by run {run.run_id}")
        rivals[run.run_id] = run
        if overlap == "parallel" or len(rivals) == 1:
            self._lanes[run.hook].push(run)
        else:
            run.enter(RunPhase.BLOCKED)

    def _release_rival(self, run: Run) -> None:
        """Remove a run from its rivals; the next of them goes on."""
        rivals = self._rivals.get((run.hook, run.overlap_key))
        if rivals is None or rivals.pop(run.run_id, None) is None:
            return
        if not rivals:
            del self._rivals[run.hook, run.overlap_key]
        elif not any(other.has_slot or other.phase is RunPhase.READY for other in rivals.values()):
            blocked = (r for r in rivals.values() if r.phase is RunPhase.BLOCKED)
            following = next(blocked, None)
            if following is not None:
                self._lanes[following.hook].push(following)

    def _next(self) -> Run | None:
        """Return the run that gets the next slot, None if no slot or no run is left."""
        if self.running >= self._config.daemon.max_running:
            return None
        best: tuple[int, int, int] | None = None
        choice = None
        for name, lane in self._lanes.items():
            run = lane.first()
            hook = self._config.hooks.get(name)
            if run is None or (hook is not None and lane.running >= hook.run.max_running):
                continue
            rank = (lane.running, run.order, run.run_id)
            if best is None or rank < best:
                best, choice = rank, run
        return choice

    # The counts.

    def _count_in(self, run: Run) -> None:
        job = self._jobs.setdefault(run.job, _Job())
        job.runs[run.run_id] = run
        if run.at_start:
            job.starts += 1
            job.gates += run.gate

    def _count_out(self, run: Run, now: float, decisions: list[Decision]) -> None:
        job = self._jobs[run.job]
        del job.runs[run.run_id]
        if run.at_start:
            job.starts -= 1
            job.gates -= run.gate
        for other in job.release():
            self._advance(other, now, decisions)
        if not job.runs:
            del self._jobs[run.job]

    def _occupy(self, run: Run) -> None:
        self.running += 1
        self._lanes[run.hook].running += 1


def _unwanted(config: Config, parked: set[str], run: Run) -> tuple[Result, str] | None:
    if run.hook not in config.hooks:
        return Result.CANCELLED, "the hook is configured no longer"
    if run.hook in parked and not run.test:
        return Result.SKIPPED, "the hook is parked; hookctl resume frees it"
    return None


def _overlap(config: Config, hook: str) -> str:
    configured = config.hooks.get(hook)
    return configured.run.overlap if configured is not None else "parallel"


def _drop(run: Run, result: Result, reason: str, decisions: list[Drop] | list[Decision]) -> None:
    if not run.has_slot and not run.over:
        run.enter(RunPhase.DROPPED)
        decisions.append(Drop(run, result, reason))


def at_once(hook: Hook) -> int:
    """Return how many runs of a hook may run at once whatever their overlap keys are."""
    return hook.run.max_running if hook.run.overlap == "parallel" else 1
