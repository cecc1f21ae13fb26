# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs on their way: from the books to the runner and, with their results, back to the books.

Owns the schedule, the live events and what the runner has. The order of the writes is the point:
on disk as handed over, then to the runner; on disk as ended, then settled with the runner.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from hookd import faults
from hookd.config import Config
from hookd.errors import InternalError
from hookd.journal import Journal
from hookd.link import Belongs, Cancel, Ended, List, Message, Printed, Settled, Started, Welcome
from hookd.model import HookRun, Phase
from hookd.records import BOOKS_RESTORED, STORAGE_LOST
from hookd.server.ends import Ends
from hookd.server.entries import Booked, Finish, Finished, HookState, Now, OpenRun
from hookd.server.gates import OVERDUE, REFUSED, Gates, refused
from hookd.server.lifecycle import Stored
from hookd.server.live import LiveEvent, LiveRun, Roster
from hookd.server.meeting import newest, settle
from hookd.server.quarantine import Quarantine
from hookd.server.results import Results
from hookd.server.rows import age_of
from hookd.server.runnerlink import RunnerLink
from hookd.server.schedule import Decision, Drop, Schedule, Ticket
from hookd.server.starts import Starts
from hookd.server.store import Store
from hookd.server.whose import Whose

MEET_SEC = 1.0  # at least, for a gate that was running when hookd ended: it may have decided


class Dispatcher:
    """The owner of all runs that have not ended."""

    def __init__(
        self,
        config: Config,
        store: Store,
        link: RunnerLink,
        journal: Journal,
        now: Callable[[], Now],
    ) -> None:
        self.schedule = Schedule(config)
        self.quarantine = Quarantine(config, self.schedule.parked, journal)
        self.roster = Roster(config)
        self._config = config
        self._store = store
        self._link = link
        self._journal = journal
        self._now = now
        self._ends = Ends(config, store, journal, self.quarantine, now, self._on_disk)
        self.starts = Starts(
            config, self.schedule, self.roster, store, link, self._ends, self._carry_out
        )
        self._ends.given_up = self._give_up
        self.whose = Whose(link, self.roster)
        self._gates = Gates(
            config, self.schedule, self.roster, self.starts, self._ends, store, self._carry_out
        )
        self._aside: set[int] = set()  # runs of which nothing is done until the next start
        self._results = Results(self.roster, self.starts, self._ends, link, self._aside)
        self._timer = faults.Timer(self._tick)

    # What comes from the jobs.

    def adopt(self, booked: Booked) -> LiveEvent | None:
        """Take over the runs of an event that has just been written; None if it has none."""
        event = booked.event
        if booked.duplicate:
            return self.roster.event(booked.job, event.phase)
        ends = event.phase is Phase.END and not booked.replay
        if ends:
            self.roster.open_jobs.discard(booked.job)
        elif not booked.replay:
            self.roster.open_jobs.add(booked.job)
        drops = self.schedule.job_ended(booked.job) if ends else []
        # The books may have been opened, and read, between the write and this.
        new = [(run, key) for run, key in booked.runs if run.run_id not in self.schedule]
        handed = [one for one in booked.handed if one.run_id not in self.schedule]
        try:
            tickets = [
                self.roster.admit(run, booked.job, event.job_id, key, booked.replay, event.test)
                for run, key in new
            ]
            for ticket in tickets:
                self._gates.watch(self.roster[ticket.run_id], time.monotonic())
            if tickets or drops:
                self._carry_out([*drops, *self.schedule.add(tickets, time.monotonic())])
            self.starts.handed(handed, booked.runner)
        except Exception:
            self._forget_unplanned([run.run_id for run, _ in booked.runs])
            raise
        return self.roster.event(booked.job, event.phase)

    def cancel(self, runs: Iterable[int], reason: str) -> list[int]:
        """End these runs, waiting or running; return those that had not ended."""
        live = [run.ticket for run_id in runs if (run := self.roster.get(run_id)) is not None]
        self._carry_out(self.schedule.cancel(live, reason))
        return [ticket.run_id for ticket in live]

    def resume(self, hook: str, why: str) -> None:
        """Free a parked hook and forget its failures."""
        self.quarantine.resume(hook, why)
        self._ends.save([])

    def configure(self, config: Config) -> None:
        """Take a new configuration: a parked hook whose file has changed is freed."""
        self._config = config
        for part in (self.schedule, self.roster, self.starts, self._ends, self._gates):
            part.configure(config)
        if self.quarantine.configure(config):
            self._ends.save([])
        self.starts.kick()

    # The books, whenever they are opened: at a start and after a fault of the disk.

    def restore(
        self, runs: Sequence[OpenRun], states: Sequence[HookState], open_jobs: set[int]
    ) -> None:
        """Take over from the books the open jobs, and every run that is not known here."""
        for lost in self._store.marks.unsaid():
            self._journal.send(STORAGE_LOST, detail=lost)
        self.roster.open_jobs = open_jobs
        self.quarantine.restore(states)
        found = [
            run
            for run in runs
            if run.run.run_id not in self.schedule and run.run.run_id not in self._aside
        ]
        tickets: dict[int, Ticket] = {}
        for run in found:
            faults.guarded(
                "a run from the books", partial(self._restored, run, tickets),
                partial(self._set_aside, run.run.run_id),
            )  # fmt: skip
        found = [run for run in found if run.run.run_id in tickets]
        if not found:
            return
        waiting = [run for run in found if run.stored is Stored.WAITING]
        decisions = self.schedule.add([tickets[r.run.run_id] for r in waiting], time.monotonic())
        # What an earlier instance had decided and not yet written down is decided again.
        obsolete = [tickets[run.run.run_id] for run in waiting if run.obsolete]
        unwanted = [tickets[run.run.run_id] for run in waiting if run.refused]
        decisions += self.schedule.obsolete(obsolete)
        decisions += self.schedule.cancel(unwanted, REFUSED)
        overdue = [tickets[run.run.run_id] for run in found if run.overdue]
        decisions += self.schedule.cancel(overdue, OVERDUE)
        text = f"{len(waiting)} wait, {len(found) - len(waiting)} were started"
        self._journal.send(BOOKS_RESTORED, detail=f"{len(found)} runs of earlier found: {text}")
        self._carry_out(decisions)
        if self.starts.instance is not None and len(waiting) < len(found):
            self.ask_again()  # on disk, and not known here: the runner says what it has

    def ask_again(self) -> None:
        """Have the runner say once more what it has; nothing starts until it has said so."""
        self.disconnected()
        self._link.send(List())

    def _set_aside(self, run_id: int, error: Exception) -> None:
        """Do nothing more with a run that cannot be dealt with: the next start tries again."""
        self._aside.add(run_id)
        live = self.roster.get(run_id)
        if live is not None:
            live.event.fail(InternalError(faults.words(error)))
        self.roster.forget(run_id)
        self._carry_out(self.schedule.ended(run_id, time.monotonic()))

    def _give_up(self, finish: Finish, error: InternalError) -> None:
        self._set_aside(finish.run_id, error)

    def _forget_unplanned(self, runs: Iterable[int]) -> None:
        """Let go of runs that were admitted and not planned: the books are read again for them."""
        for run_id in runs:
            if run_id not in self.schedule:
                self.roster.forget(run_id)

    def _restored(self, found: OpenRun, tickets: dict[int, Ticket]) -> None:
        """Take in one run from the books, and the runner that has it."""
        self.roster.forget(found.run.run_id)  # half known, where an error has come in between
        decides_nothing = found.replay or found.overdue
        ticket = self.roster.admit(
            found.run, found.job, found.job_id, found.overlap_key, decides_nothing, found.test
        )
        live = self.roster[ticket.run_id]
        live.overdue = found.overdue
        handed = found.stored is Stored.HANDED
        age = age_of(found.since, self._now()) / 1e6
        self._gates.watch(live, time.monotonic() - age, least=MEET_SEC if handed else 0.0)
        if handed:
            live.runner = found.runner
            self.schedule.adopt(ticket)
        elif found.due_usec is not None:
            self._set_due(ticket, found.due_usec)
        tickets[ticket.run_id] = ticket

    def _set_due(self, ticket: Ticket, due_usec: int) -> None:
        """Set when a run may start; no clock that was set makes it wait beyond max_backoff."""
        hook = self._config.hooks.get(ticket.hook)
        wait = max(0.0, (due_usec - self._now().usec) / 1e6)
        most = hook.retry.max_backoff if hook is not None else 0.0
        ticket.due = time.monotonic() + min(wait, most)

    # What comes from the runner.

    def welcome(self, welcome: Welcome) -> None:
        """Settle the books with the runner that has just said who it is."""
        self.starts.instance = welcome.instance
        # Books of an older copy would give numbers again that the runner has used since.
        self._store.marks.used_by_runner(newest(welcome))
        self._results.take(welcome.ended)
        met = settle(self.roster, welcome)
        started = {run.run_id: run.started_usec for run in welcome.running}
        for live in met.attached:
            self.roster.started(live.run.run_id, started[live.run.run_id])
            if live.cancelled is not None:  # it may not have heard that
                self._link.send(Cancel(live.run.run_id, live.cancelled))
        if met.nobodys:
            detail = f"the runner has runs that are in no book, and go on: {met.nobodys}"
            self._journal.send(BOOKS_RESTORED, detail=detail)
        self._ends.save([self._ends.interrupted(live, why) for live, why in met.interrupted])
        self.starts.take_back(met.never_arrived)

    def messages(self, messages: Iterable[Message]) -> None:
        """Act on what the runner says of runs."""
        ended = []
        for message in messages:
            if isinstance(message, Ended):
                ended.append(message)
            else:
                faults.guarded("a message of the runner", partial(self._take, message))
        self._results.take(ended)

    def _take(self, message: Message) -> None:
        if isinstance(message, Started):
            self.roster.started(message.run_id, message.started_usec)
        elif isinstance(message, Belongs):
            self.whose.answered(message)
        elif isinstance(message, Printed):
            live = self.roster.get(message.run_id)
            if live is not None:
                live.event.printed(message)

    def disconnected(self) -> None:
        """Note that the runner cannot be asked; nothing starts until the next Welcome."""
        self.starts.instance = None
        self.starts.ready = False

    # Ending.

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        finishes: list[Finish] = []
        for decision in decisions:
            faults.guarded(
                "a decision on a run", partial(self._decided, decision, finishes),
                partial(self._set_aside, decision.ticket.run_id),
            )  # fmt: skip
        self._ends.save(finishes)
        self._arm()
        self.starts.kick()

    def _decided(self, decision: Decision, finishes: list[Finish]) -> None:
        live = self.roster[decision.ticket.run_id]
        if isinstance(decision, Drop):
            finishes.append(self._ends.unstarted(live, decision.result, decision.reason))
        elif live.cancelled is None:
            live.cancelled = decision.reason
            self._link.send(Cancel(live.run.run_id, decision.reason))

    def _on_disk(self, finishes: list[Finish], finished: list[Finished]) -> None:
        settled = []
        for finish, written in zip(finishes, finished, strict=True):
            live = self.roster.get(finish.run_id)
            if live is None:  # set aside meanwhile
                continue
            if live.runner is not None:
                settled.append(finish.run_id)
            faults.guarded(
                "the end of a run", partial(self._ended, live, finish, written),
                partial(self._half_ended, live, finish),
            )  # fmt: skip
        if settled:
            self._link.send(Settled(settled))
        self._arm()
        self.starts.kick()

    def _half_ended(self, live: LiveRun, finish: Finish, error: Exception) -> None:
        """Let a run go whose end is on disk; what follows from it is read from there."""
        try:
            if finish.refusal is None:
                live.event.fail(InternalError(faults.words(error)))
            self.roster.forget(finish.run_id)
            self._carry_out(self.schedule.ended(finish.run_id, time.monotonic()))
        finally:
            self._store.missed()

    def _ended(self, live: LiveRun, finish: Finish, finished: Finished) -> None:
        """Make a run's end known in memory, now that it is on disk."""
        event = live.event
        if finish.refusal is not None and event.refusal is None:
            event.refusal = finish.refusal
            self.roster.open_jobs.discard(event.job)
        retry = self._retry(live, finished.retry)
        self.roster.ended(live, finish.receipt)
        decisions = self.schedule.ended(live.run.run_id, time.monotonic(), retry)
        if retry is not None and live.overdue:
            decisions += self.schedule.cancel([retry], OVERDUE)
        decisions += refused(self.schedule, event)
        if decisions:
            self._carry_out(decisions)

    def _retry(self, live: LiveRun, run: HookRun | None) -> Ticket | None:
        """Take in the next attempt of a run; a clock that is set meanwhile changes nothing."""
        if run is None or self.roster.get(run.run_id) is not None:
            return None
        ticket = live.ticket
        retry = self.roster.admit(
            run,
            ticket.job,
            live.event.job_id,
            ticket.overlap_key,
            replay=not ticket.gate or live.overdue,
            test=False,
        )
        self.roster[retry.run_id].overdue = live.overdue
        self._gates.follow(self.roster[retry.run_id], live)
        retry.due = live.retry_due
        return retry

    # What is seen from outside.

    def abandon(self) -> None:
        """Start nothing more, and send away all who wait: hookd stops."""
        self.starts.stopping = True
        self.roster.abandon()
        self._gates.close()
        self._timer.cancel()

    def _arm(self) -> None:
        """Keep a timer for the next run whose time comes."""
        due = self.schedule.next_due
        if due is None or self.starts.stopping:
            self._timer.cancel()
        else:
            self._timer.at(due)

    def _tick(self) -> None:
        self._carry_out(self.schedule.tick(time.monotonic()))
