# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs on their way: from the books to the runner and, with their results, back to the books.

Owns the schedule, the live events and what the runner has. The order of the writes is the point:
on disk as handed over, then to the runner; on disk as ended, then settled with the runner.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable

from hookd.config import Config, Hook
from hookd.errors import HookdError
from hookd.journal import Journal
from hookd.link import (
    Ask,
    Belongs,
    Cancel,
    Ended,
    Message,
    Output,
    Settled,
    Start,
    Started,
    Welcome,
)
from hookd.model import FAILURES, Event, HookRun, Job, Phase, Receipt, Result, RunState
from hookd.records import (
    BOOKS_RESTORED,
    HOOK_PARKED,
    HOOK_RESUMED,
    RUN_INTERRUPTED,
    RUN_NOT_STARTED,
    Kind,
)
from hookd.server.books import Booked, Books, Finish, Finished, HookState, Now, OpenRun
from hookd.server.lifecycle import (
    Knowledge,
    Recovery,
    Stored,
    backoff,
    next_attempt,
    recover,
    refusal,
)
from hookd.server.live import LiveEvent, LiveRun
from hookd.server.matching import overlap_key
from hookd.server.runnerlink import RunnerLink
from hookd.server.schedule import Decision, Drop, Schedule, Ticket, hook_ticket
from hookd.server.store import Store

ASK_SEC = 2.0  # for the runner to say whose a process is
SAVE_AGAIN_SEC = 1.0  # between attempts to write results while the disk does not take them


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
        self.events: dict[tuple[int, Phase], LiveEvent] = {}
        self.failures: dict[str, int] = {}
        self.stopping = False
        self.instance: str | None = None
        self.ready = False  # whether the runner has read the same configuration
        self.observe: Callable[[int, HookRun], None] = lambda _job_id, _run: None
        self._config = config
        self._store = store
        self._link = link
        self._journal = journal
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._runs: dict[int, LiveRun] = {}
        self._unsaved: list[Finish] = []
        self._kicked = False
        self._timer: asyncio.TimerHandle | None = None
        self._states: dict[str, HookState] = {}
        self._asked: dict[int, asyncio.Future[int | None]] = {}
        self._quieter: asyncio.Future[None] | None = None

    # What comes from the jobs.

    def adopt(self, booked: Booked) -> LiveEvent | None:
        """Take over the runs of an event that has just been written; None if it has none."""
        if booked.duplicate:
            return self.events.get((booked.job, booked.event.phase))
        ends = booked.event.phase is Phase.END and not booked.replay
        drops = self.schedule.job_ended(booked.job) if ends else []
        tickets = [
            self._admit(run, booked.job, booked.event.job_id, key, booked.replay)
            for run, key in booked.runs
        ]
        if tickets or drops:
            self._carry_out([*drops, *self.schedule.add(tickets, self._clock())])
        return self.events.get((booked.job, booked.event.phase))

    def cancel(self, runs: Iterable[int], reason: str) -> list[int]:
        """End these runs, waiting or running; return those that had not ended."""
        live = [self._runs[run_id].ticket for run_id in runs if run_id in self._runs]
        self._carry_out(self.schedule.cancel(live, reason))
        return [ticket.run_id for ticket in live]

    def resume(self, hook: str, why: str) -> None:
        """Free a parked hook and forget its failures."""
        self.failures.pop(hook, None)
        self.schedule.parked.discard(hook)
        state = HookState(hook, 0, False, self._digest(hook))
        self._states[hook] = state
        self._store.submit(lambda books: books.remember(state), lambda _: None)
        self._journal.send(HOOK_RESUMED, {"HOOKD_HOOK": hook}, detail=why)

    def configure(self, config: Config) -> None:
        """Take a new configuration: a parked hook whose file has changed is freed."""
        self._config = config
        self.schedule.configure(config)
        for hook in list(self.schedule.parked):
            if self._states[hook].digest != self._digest(hook):
                self.resume(hook, "its file has changed")
        self.kick()

    # The books, at a start and after a fault of the disk.

    async def restore(self) -> None:
        """Take over from the books every run that is not known here. Raises StorageFailure."""
        runs, states = await self._store.write(
            lambda books: (books.open_runs(self._overlap_key), books.hook_states())
        )
        for state in states:
            self._states[state.name] = state
            self.failures[state.name] = state.failures
            if state.parked and state.digest == self._digest(state.name):
                self.schedule.parked.add(state.name)
        found = [run for run in runs if run.run.run_id not in self._runs]
        waiting = [self._restored(run) for run in found]
        tickets = [ticket for ticket in waiting if ticket is not None]
        self._carry_out(self.schedule.add(tickets, self._clock()))
        refused = [run.run.run_id for run in found if run.refused]
        self.cancel(refused, "the start of its job was refused")
        if found:
            handed = len(found) - len(tickets)
            text = (
                f"{len(found)} runs of earlier found: {len(tickets)} wait, {handed} were started"
            )
            self._journal.send(BOOKS_RESTORED, detail=text)

    def _restored(self, found: OpenRun) -> Ticket | None:
        """Take in one run from the books; return its ticket if it waits."""
        ticket = self._admit(found.run, found.job, found.job_id, found.key, found.replay)
        if found.stored is Stored.HANDED:
            self._runs[ticket.run_id].runner = found.runner
            self.schedule.adopt(ticket)
            return None
        if found.due_usec is not None:
            ticket.due = self._clock() + max(0, found.due_usec - self._now().usec) / 1e6
        return ticket

    # What comes from the runner.

    def welcome(self, welcome: Welcome) -> None:
        """Settle the books with the runner that has just said who it is."""
        self.instance = welcome.instance
        started = {run.run_id: run.started_usec for run in welcome.running}
        ended = {message.run_id: message for message in welcome.ended}
        self._take_results(list(ended.values()))
        again = []
        for run_id, live in list(self._runs.items()):
            if live.runner is None or live.ending:
                continue
            knowledge = Knowledge.RUNNING if run_id in started else Knowledge.UNKNOWN
            todo = recover(Stored.HANDED, live.runner == welcome.instance, knowledge)
            if todo is Recovery.ATTACH:
                self._started(run_id, started[run_id])
            elif todo is Recovery.HAND_OVER_AGAIN:
                again.append(run_id)
            else:
                self._interrupt(live)
        if again:
            self._store.submit(lambda books: books.handed(again), self._handed_again)

    def messages(self, messages: Iterable[Message]) -> None:
        """Act on what the runner says of runs."""
        ended = []
        for message in messages:
            if isinstance(message, Started):
                self._started(message.run_id, message.started_usec)
            elif isinstance(message, Ended):
                ended.append(message)
            elif isinstance(message, Belongs):
                answer = self._asked.pop(message.pid, None)
                if answer is not None and not answer.done():
                    answer.set_result(message.run_id)
            elif isinstance(message, Output) and message.run_id in self._runs:
                self._runs[message.run_id].event.printed(message)
        self._take_results(ended)

    def disconnected(self) -> None:
        """Note that the runner cannot be asked; nothing starts until the next Welcome."""
        self.instance = None
        self.ready = False
        self._became_quieter()

    # Starting.

    def kick(self) -> None:
        """See soon what can start: once, however often this is called until then."""
        if not self._kicked:
            self._kicked = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._kicked = False
        instance = self.instance
        if instance is None or not self.ready or self.stopping:
            return
        tickets, drops = self.schedule.begin()
        if drops:
            self._carry_out(drops)
        if tickets:
            run_ids = [ticket.run_id for ticket in tickets]
            self._store.submit(
                lambda books: books.hand_over(run_ids, instance),
                lambda outcome: self._handed_over(tickets, instance, outcome),
            )

    def _handed_over(
        self, tickets: list[Ticket], instance: str, outcome: list[Start] | HookdError
    ) -> None:
        if isinstance(outcome, HookdError):
            self.schedule.put_back(tickets)  # the store says when it works again
            return
        for start in outcome:
            live = self._runs[start.run_id]
            live.runner = instance
            if self.instance == instance:
                self._link.send(start)
            elif self.instance is not None:
                self._interrupt(live)

    def _handed_again(self, outcome: list[Start] | HookdError) -> None:
        if isinstance(outcome, HookdError):
            self._loop.call_later(SAVE_AGAIN_SEC, self._reconnect)
            return
        for start in outcome:
            self._link.send(start)

    def _reconnect(self) -> None:
        self._link.drop()  # the next Welcome finds what could not be sent now

    def _started(self, run_id: int, usec: int | None) -> None:
        live = self._runs.get(run_id)
        if live is not None and usec is not None and not live.ending:
            live.run.state = RunState.RUNNING
            live.run.started_usec = usec
            live.event.changed(live.run)
            self.observe(live.event.job_id, live.run)

    # Ending.

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        finishes = []
        for decision in decisions:
            if isinstance(decision, Drop):
                receipt = self._unstarted(decision.result, decision.reason)
                live = self._runs[decision.ticket.run_id]
                self._say(RUN_NOT_STARTED, live, receipt)
                finishes.append(self._finish(live, receipt))
            else:
                self._link.send(Cancel(decision.ticket.run_id, decision.reason))
        self._save(finishes)
        self._arm()
        self.kick()

    def _interrupt(self, live: LiveRun) -> None:
        receipt = self._unstarted(Result.INTERRUPTED, "the runner ended while it ran")
        self._say(RUN_INTERRUPTED, live, receipt)
        self._save([self._finish(live, receipt)])

    def _take_results(self, ended: list[Ended]) -> None:
        known = [message for message in ended if message.run_id in self._runs]
        if len(known) < len(ended):  # on disk before, and the runner was not told in time
            settled = [m.run_id for m in ended if m.run_id not in self._runs]
            self._link.send(Settled(settled))
        new = [(self._runs[message.run_id], message.receipt) for message in known]
        self._save([self._finish(live, receipt) for live, receipt in new if not live.ending])

    def _finish(self, live: LiveRun, receipt: Receipt) -> Finish:
        """Decide what the end of a run means: for the run's hook, and for its job."""
        live.ending = True
        hook = self._config.hooks.get(live.run.hook)
        again = next_attempt(hook, live.run.attempt, receipt.result)
        due = None
        if again and hook is not None:
            wait = 0.0
            if receipt.result is not Result.INTERRUPTED:
                wait = backoff(hook, live.run.attempt, random.random())
            due = self._now().usec + int(wait * 1e6)
        refused = None
        if live.ticket.gate and not again:
            refused = refusal(hook, live.run.hook, receipt)
        return Finish(run_id=live.run.run_id, receipt=receipt, retry_due_usec=due, refusal=refused)

    def _save(self, finishes: list[Finish]) -> None:
        if not finishes:
            return
        states = [s for f in finishes if (s := self._count(f)) is not None]

        def act(books: Books) -> list[Finished]:
            for state in states:
                books.remember(state)
            return books.finish(finishes, self._now())

        self._store.submit(act, lambda outcome: self._saved(finishes, outcome))

    def _count(self, finish: Finish) -> HookState | None:
        """Count failures in a row; return what is to be remembered of the hook."""
        name = self._runs[finish.run_id].run.hook
        hook = self._config.hooks.get(name)
        if hook is None or finish.receipt.result not in FAILURES | {Result.SUCCESS}:
            return None
        before = self.failures.get(name, 0)
        self.failures[name] = before + 1 if finish.receipt.result in FAILURES else 0
        if hook.retry.quarantine_after == 0 or self.failures[name] == before:
            return None
        parked = self.failures[name] >= hook.retry.quarantine_after
        if parked and name not in self.schedule.parked:
            self.schedule.parked.add(name)
            detail = f"{self.failures[name]} failures in a row"
            self._journal.send(HOOK_PARKED, {"HOOKD_HOOK": name}, detail=detail)
        self._states[name] = HookState(name, self.failures[name], parked, hook.digest)
        return self._states[name]

    def _saved(self, finishes: list[Finish], outcome: list[Finished] | HookdError) -> None:
        if isinstance(outcome, HookdError):
            if not self._unsaved:
                self._loop.call_later(SAVE_AGAIN_SEC, self._save_again)
            self._unsaved += finishes
            return
        settled = []
        for finish, finished in zip(finishes, outcome, strict=True):
            live = self._runs.pop(finish.run_id, None)
            if live is not None:
                if live.runner is not None:
                    settled.append(finish.run_id)
                self._ended(live, finish, finished)
        if settled:
            self._link.send(Settled(settled))
        self._became_quieter()
        self._arm()
        self.kick()

    def _save_again(self) -> None:
        unsaved, self._unsaved = self._unsaved, []

        def act(books: Books) -> list[Finished]:
            return books.finish(unsaved, self._now())

        self._store.submit(act, lambda outcome: self._saved(unsaved, outcome))

    def _ended(self, live: LiveRun, finish: Finish, finished: Finished) -> None:
        """Make a run's end known in memory, now that it is on disk."""
        retry = None
        event = live.event
        if finished.retry is not None and finish.retry_due_usec is not None:
            ticket = live.ticket
            retry = self._admit(
                finished.retry, ticket.job, event.job_id, ticket.key, not ticket.gate
            )
            retry.due = self._clock() + max(0, finish.retry_due_usec - self._now().usec) / 1e6
        take_receipt(live.run, finish.receipt)
        if finish.refusal is not None and event.refusal is None:
            event.refusal = finish.refusal
        event.changed(live.run)
        self.observe(event.job_id, live.run)
        if not event.open:
            self.events.pop((event.job, event.phase), None)
        decisions = self.schedule.ended(live.run.run_id, self._clock(), retry)
        if event.refusal is not None:
            waiting = [t for t in self.schedule.of_job(event.job) if not t.taken]
            decisions += self.schedule.cancel(waiting, "the start of its job was refused")
        if decisions:
            self._carry_out(decisions)

    async def run_of(self, pid: int) -> LiveRun | None:
        """Return the run that a process belongs to, None for one that is no hook's."""
        if self.instance is None or not self.schedule.running:
            return None
        answer = self._asked.get(pid)
        if answer is None:
            answer = self._asked[pid] = self._loop.create_future()
            self._link.send(Ask(pid))
        await asyncio.wait({answer}, timeout=ASK_SEC)
        self._asked.pop(pid, None)
        run_id = answer.result() if answer.done() else None
        return self._runs.get(run_id) if run_id is not None else None

    def bring_up_to_date(self, jobs: Iterable[Job]) -> None:
        """Put what is known of live runs in the place of what the books say of them."""
        for job in jobs:
            for at, run in enumerate(job.hooks):
                live = self._runs.get(run.run_id)
                if live is not None:
                    job.hooks[at] = live.run

    def abandon(self) -> None:
        """Start nothing more, and send away all who wait: hookd stops."""
        self.stopping = True
        for event in self.events.values():
            event.abandon()
        if self._timer is not None:
            self._timer.cancel()

    @property
    def busy(self) -> bool:
        """Whether runs are with the runner, or their results on the way to the disk."""
        return self.schedule.running > 0

    async def quieter(self, seconds: float) -> None:
        """Wait until a run has ended or the runner is gone, at most this long."""
        if self._quieter is None:
            self._quieter = self._loop.create_future()
        await asyncio.wait({self._quieter}, timeout=seconds)

    def _became_quieter(self) -> None:
        if self._quieter is not None:
            self._quieter.set_result(None)
            self._quieter = None

    def stop_all(self, reason: str) -> None:
        """Have the runner end all that runs."""
        for live in self._runs.values():
            if live.ticket.taken:
                self._link.send(Cancel(live.run.run_id, reason))

    # Small parts.

    def _admit(self, run: HookRun, job: int, job_id: int, key: str, replay: bool) -> Ticket:
        """Take in a run that has not ended. A replay decides nothing: its job is long decided."""
        order, gate = hook_ticket(self._config.hooks.get(run.hook))
        ticket = Ticket(
            run_id=run.run_id,
            job=job,
            phase=run.phase,
            hook=run.hook,
            attempt=run.attempt,
            order=order,
            gate=gate and run.phase is Phase.START and not replay,
            key=key,
        )
        event = self.events.get((job, run.phase))
        if event is None:
            event = self.events[job, run.phase] = LiveEvent(job, job_id, run.phase)
        event.add(run, ticket.gate)
        self._runs[run.run_id] = LiveRun(run, ticket, event)
        return ticket

    def _arm(self) -> None:
        """Keep a timer for the next run whose time comes."""
        due = self.schedule.next_due
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self.schedule.tick(self._clock()))

    def _unstarted(self, result: Result, reason: str) -> Receipt:
        return Receipt(result=result, reason=reason, ended_usec=self._now().usec)

    def _say(self, kind: Kind, live: LiveRun, receipt: Receipt) -> None:
        fields = {
            "HOOKD_JOB_ID": live.event.job_id,
            "HOOKD_PHASE": live.run.phase.value,
            "HOOKD_HOOK": live.run.hook,
            "HOOKD_RUN_ID": live.run.run_id,
            "HOOKD_ATTEMPT": live.run.attempt,
            "HOOKD_RESULT": receipt.result.value,
        }
        detail = f"{receipt.result}: {receipt.reason}" if kind is RUN_NOT_STARTED else ""
        self._journal.send(kind, fields, detail=detail)

    def _overlap_key(self, hook: str, event: Event) -> str:
        configured = self._config.hooks.get(hook)
        return overlap_key(configured, event) if configured is not None else ""

    def _digest(self, hook: str) -> str:
        configured: Hook | None = self._config.hooks.get(hook)
        return configured.digest if configured is not None else ""

    @staticmethod
    def _clock() -> float:
        return time.monotonic()


def take_receipt(run: HookRun, receipt: Receipt) -> None:
    """Fill in a run that has ended from its receipt."""
    run.state = RunState.ENDED
    for name in Receipt.__struct_fields__:
        if name != "last_line":
            setattr(run, name, getattr(receipt, name))
