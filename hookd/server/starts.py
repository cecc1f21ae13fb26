# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs on their way to the runner: on disk as handed over first, sent then.

Most are written as handed over together with their event, when nothing seems to keep them
waiting; what cannot start after all is written back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from hookd.config import Config
from hookd.errors import HookdError
from hookd.link import Start
from hookd.model import Result
from hookd.server.ends import Ends
from hookd.server.entries import Booked, Slots
from hookd.server.live import LiveRun, Roster
from hookd.server.runnerlink import RunnerLink
from hookd.server.schedule import Drop, Schedule
from hookd.server.store import Store

AGAIN_SEC = 1.0  # between attempts to hand runs over while the disk fails


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
        self._loop = asyncio.get_running_loop()
        self._kicked = False

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
        if not self._kicked:
            self._kicked = True
            self._loop.call_soon(self._begin)

    def handed(self, booked: Booked) -> None:
        """Start the runs of an event that stand in the books as handed over, where that can be."""
        runs = []
        for start in booked.handed:
            live = self._roster[start.run_id]
            live.runner, live.start = booked.runner, start
            runs.append(live)
        if runs:
            self._begin()
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
        self._kicked = False
        slots = self.slots
        if slots is None:
            return
        tickets, drops = self._schedule.begin()
        if drops:
            self._dropped(drops)
        if tickets:
            runs = [self._roster[ticket.run_id] for ticket in tickets]
            self._send(slots.runner, [live for live in runs if live.start is not None])
            self._hand_over(slots.runner, [live for live in runs if live.runner is None])

    def _send(self, instance: str, runs: list[LiveRun]) -> None:
        """Send runs that are on disk as handed over, to the runner that they were handed to."""
        for live in runs:
            start, live.start = live.start, None
            if start is not None and live.runner == instance:
                self._link.send(start)
        self.take_back([live for live in runs if live.runner != instance])

    def _hand_over(self, instance: str, runs: list[LiveRun]) -> None:
        if runs:
            run_ids = [live.run.run_id for live in runs]
            self._store.submit(
                lambda books: books.runs.hand_over(run_ids, instance),
                lambda outcome: self._handed_over(runs, instance, outcome),
            )

    def _handed_over(
        self, runs: list[LiveRun], instance: str, outcome: list[Start] | HookdError
    ) -> None:
        if isinstance(outcome, HookdError):
            self._put_back(runs)
            self._loop.call_later(AGAIN_SEC, self.kick)
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
