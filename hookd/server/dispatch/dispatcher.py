# SPDX-License-Identifier: LGPL-2.1-or-later
"""Moves each run from the database to the runner, and its result back to the database.

Owns the scheduler and the registry of runs. The order of the writes matters: a run is on disk as
handed over before the runner gets it, and its result is on disk before the runner may forget it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from hookd.config.parse import Config
from hookd.errors import InternalError
from hookd.link import Belongs, Cancel, Ended, List, Message, Printed, Settled, Started, Welcome
from hookd.model import HookRun, Phase
from hookd.server.dispatch.gates import OVERDUE, Gates
from hookd.server.dispatch.handover import Handover
from hookd.server.dispatch.origin import OriginLookup
from hookd.server.dispatch.reports import RunReports
from hookd.server.dispatch.restore import RunRestorer
from hookd.server.dispatch.results import Results
from hookd.server.runs.quarantine import Quarantine
from hookd.server.runs.reconcile import newest, reconcile
from hookd.server.runs.registry import RunRegistry
from hookd.server.runs.run import Run, RunPhase
from hookd.server.runs.scheduler import Decision, Drop, Scheduler
from hookd.server.runs.watchers import JobEvent
from hookd.server.storage.store import Store
from hookd.server.storage.values import Finish, Finished, HookState, Now, OpenRun, StoredEvent
from hookd.server.transport.runner_link import RunnerLink
from hookd.system import faults
from hookd.system.journal import Journal
from hookd.system.records import STORAGE_LOST, WORK_RESTORED


class Dispatcher:
    """Owns all runs that have not ended. `observe` is called when one starts or ends."""

    def __init__(
        self,
        config: Config,
        store: Store,
        link: RunnerLink,
        journal: Journal,
        now: Callable[[], Now],
        observe: Callable[[int, HookRun], None],
    ) -> None:
        self.scheduler = Scheduler(config)
        self.quarantine = Quarantine(config, self.scheduler.parked, journal)
        self.registry = RunRegistry(config, observe)
        self._store = store
        self._link = link
        self._journal = journal
        self._results = Results(
            config, store, journal, self.quarantine, now, self._on_disk, self._give_up
        )
        scheduler, registry, results = self.scheduler, self.registry, self._results
        self.handover = Handover(
            config, scheduler, registry, store, link, results, self._carry_out
        )
        self.origins = OriginLookup(link, registry)
        self._gates = Gates(
            config, scheduler, registry, self.handover, results, store, self._carry_out
        )
        self._restorer = RunRestorer(
            config, scheduler, registry, self._gates, journal, now, self._set_aside
        )
        self._reports = RunReports(registry, self.handover, results, link)
        self._timer = faults.Timer(self._tick)

    # Events and operators.

    def add(self, stored: StoredEvent) -> JobEvent | None:
        """Take the runs of an event that has just been written.

        Returns the event while its runs have not ended, None where it has none.
        """
        event, registry = stored.event, self.registry
        if stored.duplicate:
            return registry.event(stored.job, event.phase)
        ends = event.phase is Phase.END and not stored.replay
        if ends:
            registry.open_jobs.discard(stored.job)
        elif not stored.replay:
            registry.open_jobs.add(stored.job)
        drops = self.scheduler.job_ended(stored.job) if ends else []
        runs: list[Run] = []
        try:
            for info, key in stored.runs:
                if not registry.known(info.run_id):  # not read from the database meanwhile
                    runs.append(
                        registry.add(
                            info, stored.job, event.job_id, key, stored.replay, event.test
                        )
                    )
            self._plan(stored, runs, drops)
        except Exception:
            for run in runs:
                if not run.known:  # it will be read from the database again
                    registry.forget(run)
            raise
        return registry.event(stored.job, event.phase)

    def _plan(self, stored: StoredEvent, runs: Sequence[Run], drops: Sequence[Drop]) -> None:
        """Give the runs of an event to the scheduler; send those that have a slot already."""
        now, new = time.monotonic(), {run.run_id for run in runs}
        starts = [start for start in stored.handed if start.run_id in new]
        handed = {start.run_id for start in starts}
        for run in runs:
            self._gates.watch(run, now)
            if run.run_id in handed:
                run.runner = stored.runner
                self.scheduler.adopt(run)
        waiting = [run for run in runs if run.run_id not in handed]
        if waiting or drops:
            self._carry_out([*drops, *self.scheduler.add(waiting, now)])
        self.handover.send(starts, stored.runner)

    def cancel(self, run_ids: Iterable[int], reason: str) -> list[int]:
        """End these runs, whether they wait or run; return those that had not ended."""
        runs = [run for run_id in run_ids if (run := self.registry.get(run_id)) is not None]
        self._carry_out(self.scheduler.cancel(runs, reason))
        return [run.run_id for run in runs]

    def resume(self, hook: str, why: str) -> None:
        """Free a parked hook and forget its failures; `why` is recorded."""
        self.quarantine.resume(hook, why)
        self._results.save([])

    def configure(self, config: Config) -> None:
        """Take a new configuration; a parked hook whose file has changed is freed."""
        for part in (
            self.scheduler, self.registry, self.handover, self._results, self._gates,
            self._restorer,
        ):  # fmt: skip
            part.configure(config)
        if self.quarantine.configure(config):
            self._results.save([])
        self.handover.kick()

    # What the database has, at a start and after a fault of the disk.

    def restore(
        self, runs: Sequence[OpenRun], states: Sequence[HookState], open_jobs: set[int]
    ) -> None:
        """Take over the open jobs and every run that is not known here."""
        for lost in self._store.marks.unsaid():
            self._journal.send(STORAGE_LOST, detail=lost)
        self.registry.open_jobs = open_jobs
        self.quarantine.restore(states)
        restored = self._restorer.restore(runs)
        self._carry_out(restored.decisions)
        if self.handover.instance is not None and restored.handed:
            self.ask_again()  # these runs are new here: the runner says whether it has them

    def ask_again(self) -> None:
        """Ask the runner again what it has; nothing starts until it has answered."""
        self.disconnected()
        self._link.send(List())

    def _set_aside(self, run_id: int, error: Exception) -> None:
        """Leave a run alone until the next start, after an error of hookd's own."""
        self.registry.set_aside.add(run_id)
        run = self.registry.get(run_id)
        if run is not None:
            run.event.fail(InternalError(faults.words(error)))
            self._remove(run)

    def _remove(self, run: Run) -> None:
        """Forget a run, and let the runs go on that wait for it."""
        decisions = self.scheduler.ended(run, time.monotonic())
        self.registry.forget(run)
        self._carry_out(decisions)

    def _give_up(self, finish: Finish, error: InternalError) -> None:
        self._set_aside(finish.run_id, error)

    # The runner.

    def welcome(self, welcome: Welcome) -> None:
        """Reconcile the runs with a runner that has just sent its Welcome."""
        self.handover.instance = welcome.instance
        # An older copy of the database would give numbers again that the runner has used.
        self._store.marks.used_by_runner(newest(welcome))
        self._reports.take(welcome.ended)
        found = reconcile(self.registry, welcome)
        started = {run.run_id: run.started_usec for run in welcome.running}
        for run in found.attached:
            self.registry.started(run.run_id, started[run.run_id])
            if run.cancel_reason is not None:  # the Cancel may have been lost
                self._link.send(Cancel(run.run_id, run.cancel_reason))
        if found.unknown:
            detail = f"the runner has runs that the database does not have: {found.unknown}"
            self._journal.send(WORK_RESTORED, detail=detail)
        self._results.save([self._results.interrupted(run, why) for run, why in found.interrupted])
        self.handover.take_back(found.never_arrived)

    def messages(self, messages: Iterable[Message]) -> None:
        """Act on the runner's messages about runs."""
        ended = []
        for message in messages:
            if isinstance(message, Ended):
                ended.append(message)
            else:
                faults.guarded("a message of the runner", partial(self._take, message))
        self._reports.take(ended)

    def _take(self, message: Message) -> None:
        if isinstance(message, Started):
            self.registry.started(message.run_id, message.started_usec)
        elif isinstance(message, Belongs):
            self.origins.answered(message)
        elif isinstance(message, Printed):
            run = self.registry.get(message.run_id)
            if run is not None:
                run.event.printed(message)

    def disconnected(self) -> None:
        """Note that there is no runner; nothing starts until the next Welcome."""
        self.handover.instance = None
        self.handover.ready = False

    # Decisions and results.

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        finishes: list[Finish] = []
        for decision in decisions:
            faults.guarded(
                "a decision on a run", partial(self._decided, decision, finishes),
                partial(self._set_aside, decision.run.run_id),
            )  # fmt: skip
        self._results.save(finishes)
        self._arm()
        self.handover.kick()

    def _decided(self, decision: Decision, finishes: list[Finish]) -> None:
        run = decision.run
        if isinstance(decision, Drop):
            finishes.append(self._results.unstarted(run, decision.result, decision.reason))
        elif run.cancel_reason is None:
            run.cancel_reason = decision.reason
            self._link.send(Cancel(run.run_id, decision.reason))

    def _on_disk(self, finishes: list[Finish], finished: list[Finished]) -> None:
        settled = []
        for finish, written in zip(finishes, finished, strict=True):
            run = self.registry.get(finish.run_id)
            if run is None:  # it was set aside meanwhile
                continue
            if run.runner is not None:
                settled.append(finish.run_id)
            faults.guarded(
                "the end of a run", partial(self._ended, run, finish, written),
                partial(self._half_ended, run, finish),
            )  # fmt: skip
        if settled:
            self._link.send(Settled(settled))
        self._arm()
        self.handover.kick()

    def _half_ended(self, run: Run, finish: Finish, error: Exception) -> None:
        """Forget a run whose end is on disk, and read from there what follows from it."""
        try:
            if finish.refusal is None:
                run.event.fail(InternalError(faults.words(error)))
            if run.phase is not RunPhase.ENDED:
                self._remove(run)
        finally:
            self._store.missed()

    def _ended(self, run: Run, finish: Finish, finished: Finished) -> None:
        """Act on the end of a run, now that it is on disk."""
        event = run.event
        if finish.refusal is not None and event.refusal is None:
            event.refusal = finish.refusal
            self.registry.open_jobs.discard(event.job)
        retry = self._retry(run, finished.retry)
        decisions = self.scheduler.ended(run, time.monotonic(), retry)
        self.registry.ended(run, finish.receipt)
        if retry is not None and run.overdue:
            decisions += self.scheduler.cancel([retry], OVERDUE)
        if event.refusal is not None:
            decisions += self.scheduler.refused(event.job)
        if decisions:
            self._carry_out(decisions)

    def _retry(self, run: Run, info: HookRun | None) -> Run | None:
        """Register the next attempt of a run."""
        if info is None or self.registry.get(info.run_id) is not None:
            return None
        decided = not run.gate or run.overdue
        retry = self.registry.add(
            info, run.job, run.event.job_id, run.overlap_key, decided, test=False
        )
        retry.overdue = run.overdue
        self._gates.inherit(retry, run)
        retry.due = run.retry_at
        return retry

    # Stopping, and the timer.

    def abandon(self) -> None:
        """Start nothing more and end all waits, because hookd stops."""
        self.handover.stopping = True
        self.registry.abandon()
        self._gates.close()
        self._timer.cancel()

    def _arm(self) -> None:
        """Set the timer for the next run that becomes due."""
        due = self.scheduler.next_due
        if due is None or self.handover.stopping:
            self._timer.cancel()
        else:
            self._timer.at(due)

    def _tick(self) -> None:
        self._carry_out(self.scheduler.tick(time.monotonic()))
