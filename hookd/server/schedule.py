# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may start now: order within a job, rivals of one hook, slots, and fairness between hooks.

Decides and never acts: tickets and times go in, decisions come out. A ticket passes four gates,
each for a reason of its own: its job's order (start hooks wait for gates, end hooks for start
hooks), its due time (retries), its rivals (`overlap`), and a free slot. Pure.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from hookd.config import Config, Hook
from hookd.model import Phase, Result


class Ticket(msgspec.Struct, eq=False, kw_only=True):
    """One run that has not ended, as the schedule sees it.

    `job` is the job's key in the books; runs of one hook with the same `overlap_key` are rivals;
    `due` is a moment on the caller's clock before which it must not start. `test`: its hook may
    be parked. `first`: the run whose next attempt it is; 0 where it is none, or was read from the
    books.
    """

    run_id: int
    job: int
    phase: Phase
    hook: str
    attempt: int = 1
    order: int = 50
    gate: bool = False
    overlap_key: str = ""
    due: float | None = None
    test: bool = False
    taken: bool = False
    ready: bool = False
    dropped: bool = False
    first: int = 0

    @property
    def origin(self) -> int:
        """The run that its event made: higher for a later event, also where attempts follow."""
        return self.first or self.run_id


class Drop(msgspec.Struct, frozen=True):
    """A decision: this run ends without having been started."""

    ticket: Ticket
    result: Result
    reason: str


class Stop(msgspec.Struct, frozen=True):
    """A decision: this run, which has been started, is to be cancelled."""

    ticket: Ticket
    reason: str


Decision = Drop | Stop


class _Job(msgspec.Struct):
    """What a job's runs wait for: how many gates and start runs have not ended."""

    gates: int = 0
    starts: int = 0
    tickets: dict[int, Ticket] = {}
    held: list[Ticket] = []

    def holds(self, ticket: Ticket) -> bool:
        if ticket.phase is Phase.END:
            return self.starts > 0
        return self.gates > 0 and not ticket.gate

    def release(self) -> list[Ticket]:
        held, self.held = self.held, []
        return held


class _Lane(msgspec.Struct):
    """One hook's runs that could start, oldest first, and how many it has running."""

    running: int = 0
    waiting: int = 0
    ready: list[tuple[int, Ticket]] = []

    def push(self, ticket: Ticket) -> None:
        if not ticket.ready:
            ticket.ready = True
            heapq.heappush(self.ready, (ticket.run_id, ticket))

    def pop(self) -> Ticket:
        _, ticket = heapq.heappop(self.ready)
        ticket.ready = False
        return ticket


class Schedule:
    """All runs that have not ended. `waiting` and `running` count them."""

    def __init__(self, config: Config) -> None:
        self.waiting = 0
        self.running = 0
        self.parked: set[str] = set()
        self._config = config
        self._tickets: dict[int, Ticket] = {}
        self._jobs: dict[int, _Job] = {}
        self._lanes: defaultdict[str, _Lane] = defaultdict(_Lane)
        self._rivals: dict[tuple[str, str], dict[int, Ticket]] = {}
        self._timers: list[tuple[float, int]] = []

    def configure(self, config: Config) -> None:
        """Take new limits and policies; they hold from the next decision on."""
        self._config = config
        for (hook, _), rivals in self._rivals.items():
            if _overlap(config, hook) == "parallel":  # now nothing but slots keeps them waiting
                for ticket in rivals.values():
                    if not ticket.taken and not ticket.dropped:
                        self._lanes[ticket.hook].push(ticket)

    def __contains__(self, run_id: int) -> bool:
        return run_id in self._tickets

    def ticket(self, run_id: int) -> Ticket | None:
        """Return the ticket of a run that has not ended."""
        return self._tickets.get(run_id)

    def of_job(self, job: int) -> Iterator[Ticket]:
        """Return the tickets of one job."""
        return iter(list(self._jobs[job].tickets.values()) if job in self._jobs else [])

    def counts(self, hook: str) -> tuple[int, int]:
        """Return how many runs of a hook are running and waiting."""
        lane = self._lanes.get(hook, _Lane())
        return lane.running, lane.waiting

    def add(self, tickets: Iterable[Ticket], now: float) -> list[Decision]:
        """Take in runs that wait; all of one job that are known at the same time together."""
        tickets = sorted(tickets, key=lambda t: t.run_id)
        for ticket in tickets:
            self._count_in(ticket)
            self.waiting += 1
            self._lanes[ticket.hook].waiting += 1
        decisions: list[Decision] = []
        for ticket in tickets:
            self._advance(ticket, now, decisions)
        return decisions

    def adopt(self, ticket: Ticket) -> None:
        """Take in a run that is running already."""
        self._count_in(ticket)
        self._rivals.setdefault((ticket.hook, ticket.overlap_key), {})[ticket.run_id] = ticket
        self._take(ticket)

    def begin(self) -> tuple[list[Ticket], list[Drop]]:
        """Return what is to start now, in start order, and what is not to start any more.

        The slot goes to the hook with the fewest runs running: a hook that has filled its share
        never keeps another one waiting.
        """
        starts: list[Ticket] = []
        drops: list[Drop] = []
        while True:
            choice = self._choose()
            if choice is None:
                break
            ticket = self._lanes[choice].pop()
            reason = _unwanted(self._config, self.parked, ticket)
            if reason is not None:
                _drop(ticket, reason[0], reason[1], drops)
            elif not ticket.dropped:
                self.waiting -= 1
                self._lanes[ticket.hook].waiting -= 1
                self._take(ticket)
                starts.append(ticket)
        starts.sort(key=lambda t: (t.order, t.run_id))
        return starts, drops

    def put_back(self, tickets: Iterable[Ticket]) -> None:
        """Take back what `begin` gave or `adopt` took in, and what was not started after all."""
        for ticket in tickets:
            job = self._jobs[ticket.job]
            ticket.taken = False
            self.running -= 1
            self._lanes[ticket.hook].running -= 1
            self.waiting += 1
            self._lanes[ticket.hook].waiting += 1
            if job.holds(ticket):  # adopted: an earlier instance had not come to see that
                self._next_rival(ticket)
                job.held.append(ticket)
            else:
                self._lanes[ticket.hook].push(ticket)

    def ended(self, run_id: int, now: float, retry: Ticket | None = None) -> list[Decision]:
        """Note that a run has ended, was dropped or is followed by `retry`."""
        ticket = self._tickets.pop(run_id, None)
        decisions: list[Decision] = []
        if ticket is None:
            return decisions
        lane = self._lanes[ticket.hook]
        if ticket.taken:
            self.running -= 1
            lane.running -= 1
        else:
            self.waiting -= 1
            lane.waiting -= 1
        ticket.dropped = True
        self._next_rival(ticket)  # before its own next attempt could take it for a rival
        if retry is not None:  # before the job's count can fall to zero
            retry.first = ticket.origin
            decisions += self.add([retry], now)
        self._count_out(ticket, now, decisions)
        return decisions

    def decided(self, run_id: int, now: float) -> list[Decision]:
        """Let a gate's job go on: it is decided, and this run is no gate any more."""
        ticket = self._tickets[run_id]
        decisions: list[Decision] = []
        if ticket.gate:
            ticket.gate = False
            job = self._jobs[ticket.job]
            job.gates -= 1
            for other in job.release():
                self._advance(other, now, decisions)
        return decisions

    def obstacle(self, ticket: Ticket, now: float) -> str:
        """Return what a run that waits is waiting for, in words."""
        lane, hook = self._lanes[ticket.hook], self._config.hooks.get(ticket.hook)
        rivals = self._rivals.get((ticket.hook, ticket.overlap_key), {})
        if ticket.due is not None and ticket.due > now:
            return f"its attempt {ticket.attempt} is not due yet"
        if ticket.run_id in rivals and not ticket.ready:
            return f"run {next(iter(rivals))} has not ended, and overlap is serial"
        if self.running >= self._config.daemon.max_running:
            return f"all {self._config.daemon.max_running} slots are taken"
        if hook is not None and lane.running >= hook.run.max_running:
            return f"all {hook.run.max_running} slots of the hook are taken"
        return "it has not come to its turn"

    def job_ended(self, job: int) -> list[Drop]:
        """Return what the end of a job makes obsolete: `obsolete = "skip"` start hooks in wait."""
        return self.obsolete(self.of_job(job))

    def obsolete(self, tickets: Iterable[Ticket]) -> list[Drop]:
        """Return which of these runs end because their job has ended before their turn."""
        drops: list[Drop] = []
        for ticket in tickets:
            hook = self._config.hooks.get(ticket.hook)
            if ticket.phase is Phase.START and hook is not None and hook.obsolete == "skip":
                _drop(ticket, Result.SKIPPED, "its job has ended before its turn", drops)
        return drops

    def cancel(self, tickets: Iterable[Ticket], reason: str) -> list[Decision]:
        """Return the decisions that end these runs, whether they wait or run."""
        decisions: list[Decision] = []
        for ticket in tickets:
            if ticket.taken:
                decisions.append(Stop(ticket, reason))
            else:
                _drop(ticket, Result.CANCELLED, reason, decisions)
        return decisions

    def tick(self, now: float) -> list[Decision]:
        """Let runs go on whose time has come."""
        decisions: list[Decision] = []
        while self._timers and self._timers[0][0] <= now:
            _, run_id = heapq.heappop(self._timers)
            ticket = self._tickets.get(run_id)
            if ticket is not None and not ticket.dropped:
                self._advance(ticket, now, decisions)
        return decisions

    @property
    def next_due(self) -> float | None:
        """The moment at which `tick` has something to do."""
        return self._timers[0][0] if self._timers else None

    # The gates a ticket passes.

    def _advance(self, ticket: Ticket, now: float, decisions: list[Decision]) -> None:
        job = self._jobs[ticket.job]
        if ticket.dropped:
            return
        if job.holds(ticket):
            job.held.append(ticket)
        elif ticket.due is not None and ticket.due > now:
            heapq.heappush(self._timers, (ticket.due, ticket.run_id))
        else:
            self._contend(ticket, decisions)

    def _contend(self, ticket: Ticket, decisions: list[Decision]) -> None:
        overlap = _overlap(self._config, ticket.hook)
        rivals = self._rivals.setdefault((ticket.hook, ticket.overlap_key), {})
        if overlap == "skip" and rivals:
            other = next(iter(rivals))
            _drop(ticket, Result.SKIPPED, f"run {other} has not ended", decisions)
            return
        if overlap == "replace":
            newer = next((t.run_id for t in rivals.values() if t.origin > ticket.origin), None)
            if newer is not None:  # of a later event: a retry, or an end that had to wait
                _drop(ticket, Result.CANCELLED, f"replaced by run {newer}", decisions)
                return
            decisions += self.cancel(rivals.values(), f"replaced by run {ticket.run_id}")
        rivals[ticket.run_id] = ticket
        if overlap == "parallel" or len(rivals) == 1:
            self._lanes[ticket.hook].push(ticket)

    def _next_rival(self, ticket: Ticket) -> None:
        rivals = self._rivals.get((ticket.hook, ticket.overlap_key))
        if rivals is None or rivals.pop(ticket.run_id, None) is None:
            return
        if not rivals:
            del self._rivals[ticket.hook, ticket.overlap_key]
        elif not any(t.taken or (t.ready and not t.dropped) for t in rivals.values()):
            following = next((t for t in rivals.values() if not t.dropped), None)
            if following is not None:
                self._lanes[following.hook].push(following)

    def _choose(self) -> str | None:
        """Return the lane whose oldest run gets the next slot, None when there is none to give."""
        if self.running >= self._config.daemon.max_running:
            return None
        best: tuple[int, int, int] | None = None
        choice = None
        for name, lane in self._lanes.items():
            if not lane.ready:
                continue
            hook = self._config.hooks.get(name)
            if hook is not None and lane.running >= hook.run.max_running:
                continue
            run_id, ticket = lane.ready[0]
            rank = (lane.running, ticket.order, run_id)
            if best is None or rank < best:
                best, choice = rank, name
        return choice

    # The books of counts.

    def _count_in(self, ticket: Ticket) -> None:
        self._tickets[ticket.run_id] = ticket
        job = self._jobs.setdefault(ticket.job, _Job())
        job.tickets[ticket.run_id] = ticket
        if ticket.phase is Phase.START:
            job.starts += 1
            job.gates += ticket.gate

    def _count_out(self, ticket: Ticket, now: float, decisions: list[Decision]) -> None:
        job = self._jobs[ticket.job]
        del job.tickets[ticket.run_id]
        if ticket.phase is Phase.START:
            job.starts -= 1
            job.gates -= ticket.gate
        for other in job.release():
            self._advance(other, now, decisions)
        if not job.tickets:
            del self._jobs[ticket.job]

    def _take(self, ticket: Ticket) -> None:
        ticket.taken = True
        self.running += 1
        self._lanes[ticket.hook].running += 1


def _unwanted(config: Config, parked: set[str], ticket: Ticket) -> tuple[Result, str] | None:
    if ticket.hook not in config.hooks:
        return Result.CANCELLED, "the hook is configured no longer"
    if ticket.hook in parked and not ticket.test:
        return Result.SKIPPED, "the hook is parked; hookctl resume frees it"
    return None


def _overlap(config: Config, hook: str) -> str:
    configured = config.hooks.get(hook)
    return configured.run.overlap if configured is not None else "parallel"


def _drop(
    ticket: Ticket, result: Result, reason: str, decisions: list[Drop] | list[Decision]
) -> None:
    if not ticket.taken and not ticket.dropped:
        ticket.dropped = True
        decisions.append(Drop(ticket, result, reason))


def at_once(hook: Hook) -> int:
    """Return how many runs of a hook surely may run at once."""
    return hook.run.max_running if hook.run.overlap == "parallel" else 1


def hook_ticket(hook: Hook | None) -> tuple[int, bool]:
    """Return what a ticket keeps of its hook: its order, and whether it is a gate."""
    return (hook.order, hook.is_gate) if hook is not None else (50, False)
