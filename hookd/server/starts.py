# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs on their way to the runner: on disk as handed over first, sent then.

Most are written as handed over together with their event, when nothing seems to keep them
waiting; what cannot start after all is written back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from hookd import faults
from hookd.config import Config
from hookd.errors import HookdError, InternalError
from hookd.link import Start
from hookd.model import Result
from hookd.server.books import Books
from hookd.server.ends import Ends
from hookd.server.entries import Slots
from hookd.server.live import LiveRun, Roster
from hookd.server.runnerlink import RunnerLink
from hookd.server.schedule import Drop, Schedule
from hookd.server.store import Store

AGAIN_SEC = 1.0  # between attempts to hand runs over while the disk fails
MAX_FAULTS = 3  # errors of hookd's own on a run's way to the runner, until it is not started


class Starts:
    """Decides nothing but when: the schedule says what starts, `dropped` hears what does not.

    `instance` is the runner that is connected; `ready`, whether it starts what it is sent: it is
    alive and has read the same configuration.
    """

    def __init__(
        self,
        config: Config,
        schedule: Schedule,
        roster: Roster,
        store: Store,
        link: RunnerLink,
        ends: Ends,
        dropped: Callable[[Iterable[Drop]], None],
    ) -> None:
        self.instance: str | None = None
        self.ready = False
        self.stopping = False
        self._config = config
        self._schedule = schedule
        self._roster = roster
        self._store = store
        self._link = link
        self._ends = ends
        self._dropped = dropped
        self._begin_soon = faults.Timer(self._begin)
        self._again = faults.Timer(self.kick)

    def configure(self, config: Config) -> None:
        """Take a new configuration."""
        self._config = config

    @property
    def slots(self) -> Slots | None:
        """What the books may hand over at once; None while nothing can start."""
        if self.instance is None or not self.ready or self.stopping:
            return None
        return Slots(self.instance, self._config.daemon.max_running)

    def kick(self) -> None:
        """See soon what can start: once, however often this is called until then."""
        self._begin_soon.soon()

    def handed(self, starts: list[Start], runner: str | None) -> None:
        """Start the runs of an event that stand in the books as handed over, where that can be."""
        runs = []
        for start in starts:
            live = self._roster[start.run_id]
            live.runner, live.start = runner, start
            runs.append(live)
        if runs:
            faults.guarded("starts", self._begin, lambda _: self.kick())
            late = [live for live in runs if live.start is not None and not live.ending]
            for live in late:
                live.runner = live.start = None
            self._write_back(late)

    def take_back(self, runs: list[LiveRun]) -> None:
        """Have runs wait again that were given to a runner on disk and never came to it."""
        if runs:
            self._write_back(runs)
            self._put_back(runs)
            self.kick()

    def _begin(self) -> None:
        slots = self.slots
        if slots is None:
            return
        tickets, drops = self._schedule.begin()
        if drops:
            faults.guarded("runs that do not start", partial(self._dropped, drops))
        if tickets:
            runs = [self._roster[ticket.run_id] for ticket in tickets]
            for live in runs:
                if live.start is not None:
                    send = partial(self._send, slots.runner, live)
                    faults.guarded("a start", send, partial(self._stumbled, [live]))
            self._hand_over(slots.runner, [live for live in runs if live.runner is None])

    def _send(self, instance: str, live: LiveRun) -> None:
        """Send a run that is on disk as handed over, to the runner that it was handed to."""
        start, live.start = live.start, None
        if start is None or live.runner != instance:
            self.take_back([live])
        else:
            self._link.send(start)

    def _hand_over(self, instance: str, runs: list[LiveRun]) -> None:
        alone = [[live] for live in runs if live.faults]
        for group in (*alone, [live for live in runs if not live.faults]):
            if group:
                self._store.submit(
                    partial(_hand_over, [live.run.run_id for live in group], instance),
                    partial(self._handed_over, group, instance),
                    partial(self._stumbled, group),
                )

    def _stumbled(self, runs: list[LiveRun], error: Exception) -> None:
        """Have runs wait again whose way to the runner met an error of hookd's own.

        Each goes alone then, so that it cannot hold up others; it is ended where that is no help.
        """
        for live in runs:
            live.faults += 1
        hopeless = runs if len(runs) == 1 and runs[0].faults > MAX_FAULTS else []
        self._ends.save(
            [
                self._ends.unstarted(live, Result.SPAWN_FAILED, faults.words(error))
                for live in hopeless
            ]
        )
        self.take_back([live for live in runs if not live.ending])

    def _handed_over(
        self, runs: list[LiveRun], instance: str, outcome: list[Start] | HookdError
    ) -> None:
        if isinstance(outcome, InternalError):
            self._stumbled(runs, outcome)
        elif isinstance(outcome, HookdError):
            self._put_back(runs)
            self._again.within(AGAIN_SEC)
        elif self.instance != instance or not self.ready:
            self.take_back(runs)
        else:
            self._end_cancelled(runs)
            for start in outcome:
                live = self._roster[start.run_id]
                if not live.ending:
                    live.runner = instance
                    self._link.send(start)
            # Handed over before, by a commit that failed and was on disk all the same.
            self.take_back([live for live in runs if live.runner is None and not live.ending])

    def _write_back(self, runs: list[LiveRun]) -> None:
        run_ids = [live.run.run_id for live in runs]
        if run_ids:
            # Where this fails, the next attempt to hand them over comes here again.
            self._store.submit(lambda books: books.runs.take_back(run_ids), lambda _: None)

    def _put_back(self, runs: list[LiveRun]) -> None:
        for live in runs:
            live.runner = None
        self._end_cancelled(runs)
        self._schedule.put_back(live.ticket for live in runs if not live.ending)

    def _end_cancelled(self, runs: list[LiveRun]) -> None:
        """End those that were cancelled before the runner ever saw them."""
        self._ends.save(
            [
                self._ends.unstarted(live, Result.CANCELLED, live.cancelled)
                for live in runs
                if live.cancelled is not None and not live.ending
            ]
        )


def _hand_over(run_ids: list[int], instance: str, books: Books) -> list[Start]:
    return books.runs.hand_over(run_ids, instance)
