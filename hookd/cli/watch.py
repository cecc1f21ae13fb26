# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl watch: shows the running hooks, their time limits, and the last results.

hookd sends each change (`Subscribe`), and this file keeps the content of the screen. Only the
numbers of the first line are requested, at every refresh.
"""

from __future__ import annotations

import queue
import re
import signal
import sys
import threading
import time
from collections import deque

import click
import msgspec
from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hookd.cli.base import DONE, Settings
from hookd.cli.command import command
from hookd.cli.draw import at, colour
from hookd.cli.words import cell, ended, span
from hookd.client import Client
from hookd.errors import HookdError, NoSuchJob, ShuttingDown, TooSlow
from hookd.manager_api import (
    GetStatus,
    GetStatusReply,
    Hook,
    ListHooks,
    ListHooksReply,
    ListJobs,
    ListJobsReply,
    Status,
    Subscribe,
    SubscribeReply,
)
from hookd.model import HookRun, RunState
from hookd.system.terminal import lost

RESULTS = 10  # ended runs that are shown
NEAR = 0.8  # share of the time limit from which on the bar of a run is red
FRAME = 8  # lines of the screen that are neither a run nor a result
FEWEST = 3  # runs that are shown on even the smallest terminal
PROFILES = 10_000  # jobs whose profile is remembered: some megabytes
LEAST_SEC = 0.1  # between two refreshes
AGAIN_SEC = 1.0  # between attempts to subscribe again while hookd restarts


Told = queue.SimpleQueue[SubscribeReply | Exception]


def _seconds(word: str) -> float:
    """Return a number of seconds. float() accepts more: nan, 1_0, digits of other scripts."""
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", word) is None or float(word) < LEAST_SEC:
        raise click.BadParameter(f"must be a number of at least {LEAST_SEC}, not {word!r}")
    return float(word)


@command()
@click.option(
    "--interval",
    type=_seconds,
    default="0.5",
    metavar="SECONDS",
    help="Between pictures.",
)
def watch(settings: Settings, interval: float) -> int:
    """Watch hooks run, on the whole terminal.

    Ctrl-C ends it.
    """
    if not sys.stdout.isatty():
        raise click.ClickException("watch draws on a terminal; elsewhere use status, jobs, logs")
    stop = threading.Event()
    told: Told = queue.SimpleQueue()
    with settings.client() as hookd:
        board = Board(hookd)
        board.ask()
        threading.Thread(target=follow, args=(settings, told), daemon=True).start()
        try:
            board.take(told.get())
            # From here on, a signal must not interrupt a refresh: the screen has to be restored.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            with Live(draw(board), screen=True, auto_refresh=False) as live:
                while not stop.wait(interval) and lost() is None:
                    while not told.empty():
                        board.take(told.get())
                    board.ask()
                    live.update(draw(board), refresh=True)
        except KeyboardInterrupt:
            pass
    return DONE


def follow(settings: Settings, told: Told) -> None:
    """Put the replies of the subscription on the queue, across restarts; a final error ends it.

    A new subscription continues after the last known change. If none is known, everything may
    have changed, so `missed` is set.
    """
    since: int | None = None
    with settings.client() as hookd:
        while True:
            try:
                asked = Subscribe(since=since)
                for reply in hookd.stream("io.hookd.Manager.Subscribe", asked, SubscribeReply):
                    told.put(msgspec.structs.replace(reply, missed=reply.missed or since is None))
                    if reply.notices:
                        since = reply.notices[-1].seq
            except (ConnectionError, ShuttingDown, TooSlow):
                time.sleep(AGAIN_SEC)
            except (HookdError, OSError) as e:
                told.put(e)
                return


class Board:
    """The content of the screen: the numbers, the running runs, and the last ended ones."""

    def __init__(self, hookd: Client) -> None:
        self.status: Status
        self.hooks: dict[str, Hook] = {}
        self.going: dict[int, tuple[int, HookRun]] = {}
        self.gone: deque[tuple[int, HookRun]] = deque(maxlen=RESULTS)
        self._hookd = hookd
        self._profiles: dict[int, str] = {}

    def ask(self) -> None:
        """Request the numbers, and the hooks if one of them has waiting runs or is unknown."""
        call = self._hookd.call
        self.status = call(
            "io.hookd.Manager.GetStatus", GetStatus(), GetStatusReply, repeat=True
        ).status
        known = all(run.hook in self.hooks for _, run in self.going.values())
        if self.status.waiting or not known or not self.hooks or self.queue:
            found = call(
                "io.hookd.Manager.ListHooks", ListHooks(), ListHooksReply, repeat=True
            ).hooks
            self.hooks = {hook.name: hook for hook in found}

    @property
    def queue(self) -> list[tuple[str, int]]:
        """The hooks with waiting runs, and their numbers, the longest queue first."""
        waiting = [(hook.name, hook.waiting) for hook in self.hooks.values() if hook.waiting]
        return sorted(waiting, key=lambda one: -one[1])

    def take(self, news: SubscribeReply | Exception) -> None:
        """Apply a reply. Raises the error with which the subscription ended."""
        if isinstance(news, Exception):
            raise news
        if news.missed:
            self._look()
        for notice in news.notices:
            if notice.profile is not None:
                self._remember(notice.job_id, notice.profile)
            if notice.run is not None:
                self._take(notice.job_id, notice.run)

    def profile(self, job_id: int) -> str:
        """Return the profile of a job; request it if the job started before the subscription."""
        if job_id not in self._profiles:
            try:
                self._remember(job_id, self._hookd.get_job(job_id).profile)
            except NoSuchJob:  # pruned in the meantime
                self._remember(job_id, "")
        return self._profiles[job_id]

    def _take(self, job_id: int, run: HookRun) -> None:
        if run.state is RunState.ENDED:
            self.going.pop(run.run_id, None)
            # A notice may repeat a result that `_look` has already received.
            if all(known.run_id != run.run_id for _, known in self.gone):
                self.gone.appendleft((job_id, run))
        else:
            self.going[run.run_id] = (job_id, run)

    def _remember(self, job_id: int, profile: str) -> None:
        self._profiles[job_id] = profile
        if len(self._profiles) > PROFILES:
            del self._profiles[next(iter(self._profiles))]

    def _look(self) -> None:
        """Request everything: the runs of all unfinished jobs, and the last results."""
        self.going.clear()
        self.gone.clear()
        jobs = {job.job_id: job for job in self._jobs(ListJobs(limit=50)).jobs}
        asked = ListJobs(unfinished=True, limit=1000)
        while True:
            page = self._jobs(asked)
            jobs |= {job.job_id: job for job in page.jobs}
            if page.cursor is None:
                break
            asked = msgspec.structs.replace(asked, cursor=page.cursor)
        for job in jobs.values():
            self._remember(job.job_id, job.profile)
        runs = [(job.job_id, run) for job in jobs.values() for run in job.hooks]
        for job_id, run in sorted(runs, key=lambda one: one[1].ended_usec or 0):
            if run.state is not RunState.WAITING:
                self._take(job_id, run)

    def _jobs(self, asked: ListJobs) -> ListJobsReply:
        return self._hookd.call("io.hookd.Manager.ListJobs", asked, ListJobsReply, repeat=True)


def draw(board: Board) -> RenderableType:
    """Return the screen."""
    status = board.status
    health = "healthy" if status.healthy else "; ".join(status.problems)
    head = Text.assemble(
        (cell(health), "green" if status.healthy else "bold red"),
        f"   running {status.running} of {status.max_running}",
        f"   waiting {status.waiting} of {status.max_queue}",
        f"   open jobs {'unknown' if status.open_jobs is None else status.open_jobs}",
    )
    waiting = ", ".join(f"{cell(name)} {number}" for name, number in board.queue)
    line = Text(f"waiting: {waiting}" if waiting else "", no_wrap=True, overflow="ellipsis")
    return Group(head, line, _going(board), Text(), _gone(board))


def _going(board: Board) -> RenderableType:
    table = _table()
    table.add_column("")
    table.add_column("ELAPSED")
    table.add_column("LIMIT")
    now = time.time_ns() // 1000
    room = max(FEWEST, Console().height - FRAME - len(board.gone))
    going = sorted(board.going.values(), key=lambda one: one[1].started_usec or sys.maxsize)
    for job_id, run in going[:room]:
        hook = board.hooks.get(run.hook)
        limit = hook.timeout_usec if hook else 0
        elapsed = max(0, now - run.started_usec) if run.started_usec else 0
        near = elapsed >= NEAR * limit
        bar = Bar(max(limit, 1), 0, elapsed, width=20, color="red" if near else "cyan")
        table.add_row(*_who(board, job_id, run), bar, span(elapsed), span(limit) if hook else "-")
    if len(going) <= room:
        return table
    return Group(table, Text(f"and {len(going) - room} more, which started later"))


def _gone(board: Board) -> Table:
    table = _table()
    table.add_column("AT", no_wrap=True)
    table.add_column("RESULT")  # the column that is truncated
    for job_id, run in board.gone:
        result = cell(ended(run))
        cut = Text(result, colour(result), no_wrap=True, overflow="ellipsis")
        table.add_row(*_who(board, job_id, run), at(run.ended_usec), cut)
    return table


def _table() -> Table:
    """Return a table with the columns that identify a run."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, width in (("RUN", 7), ("HOOK", 16), ("PHASE", 5), ("JOB", 7), ("PROFILE", 16)):
        table.add_column(heading, max_width=width, no_wrap=True, overflow="ellipsis")
    return table


def _who(board: Board, job_id: int, run: HookRun) -> list[Text]:
    values = (run.run_id, run.hook, run.phase.value, job_id, board.profile(job_id))
    return [Text(cell(value)) for value in values]
