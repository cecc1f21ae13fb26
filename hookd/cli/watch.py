# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl watch: what runs now, how near to its limit it is, and what has just ended.

It asks again and again instead of subscribing: a picture for people needs no event, and one that
is asked for anew cannot drift from the truth.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator

import click
import msgspec
from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hookd.cli.base import DONE, Settings
from hookd.cli.command import command
from hookd.cli.draw import at, colour
from hookd.cli.jobs import Page
from hookd.cli.status import HooksReply, Status, StatusReply
from hookd.cli.words import ended, safe, span
from hookd.client import Client
from hookd.model import HookRun, Job, RunState

PAGES = 10  # of jobs that are looked through for runs that have not ended
RESULTS = 10  # of runs that have ended, shown
NEAR = 0.8  # of its time limit: from here on a run's bar is red


class Picture(msgspec.Struct):
    """All that is on the screen. `timeouts` are the hooks' limits, in microseconds."""

    status: Status
    going: list[tuple[Job, HookRun]]
    gone: list[tuple[Job, HookRun]]
    timeouts: dict[str, int]
    now: int


@command()
@click.option(
    "--interval", type=click.FloatRange(0.1), default=0.5, metavar="SECONDS", help="Between looks."
)
def watch(settings: Settings, interval: float) -> int:
    """Watch hooks run, on the whole terminal.

    Ctrl-C ends it.
    """
    if not sys.stdout.isatty():
        raise click.ClickException("watch draws on a terminal; elsewhere use status, jobs, logs")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the screen is put back
    with settings.client() as hookd:
        picture = look(hookd)
        try:
            with Live(draw(picture), screen=True, auto_refresh=False) as live:
                while True:
                    time.sleep(interval)
                    live.update(draw(look(hookd)), refresh=True)
        except KeyboardInterrupt:
            return DONE


def look(hookd: Client) -> Picture:
    """Ask the daemon for everything that is shown."""
    status = hookd.call("io.hookd.Manager.GetStatus", {}, StatusReply, repeat=True).status
    hooks = hookd.call("io.hookd.Manager.ListHooks", {}, HooksReply, repeat=True).hooks
    runs = list(_runs(hookd, status.running + status.waiting))
    going = [(job, run) for job, run in runs if run.state is not RunState.ENDED]
    gone = [(job, run) for job, run in runs if run.state is RunState.ENDED]
    return Picture(
        status=status,
        going=sorted(going, key=lambda one: (one[1].started_usec or sys.maxsize, one[1].run_id)),
        gone=sorted(gone, key=lambda one: one[1].ended_usec or 0, reverse=True)[:RESULTS],
        timeouts={hook.name: hook.timeout_usec for hook in hooks},
        now=time.time_ns() // 1000,
    )


def _runs(hookd: Client, unfinished: int) -> Iterator[tuple[Job, HookRun]]:
    """Yield the runs of the newest jobs, until all that have not ended are among them."""
    cursor = None
    for _ in range(PAGES):
        asked = {"cursor": cursor}
        page = hookd.call("io.hookd.Manager.ListJobs", asked, Page, repeat=True)
        for job in page.jobs:
            for run in job.hooks:
                unfinished -= run.state is not RunState.ENDED
                yield job, run
        cursor = page.cursor
        if cursor is None or unfinished <= 0:
            return


def draw(picture: Picture) -> RenderableType:
    """Return the screen."""
    status = picture.status
    health = "healthy" if status.healthy else "; ".join(status.problems)
    head = Text.assemble(
        (safe(health), "green" if status.healthy else "bold red"),
        f"   running {status.running} of {status.max_running}",
        f"   waiting {status.waiting} of {status.max_queue}",
        f"   open jobs {status.open_jobs}",
    )
    return Group(head, Text(), _going(picture), Text(), _gone(picture))


def _going(picture: Picture) -> Table:
    table = _table()
    table.add_column("")
    table.add_column("ELAPSED")
    table.add_column("LIMIT")
    for job, run in picture.going:
        limit = picture.timeouts.get(run.hook, 0)
        elapsed = max(0, picture.now - run.started_usec) if run.started_usec else 0
        near = elapsed >= NEAR * limit
        bar = Bar(max(limit, 1), 0, elapsed, width=20, color="red" if near else "cyan")
        passed = span(elapsed) if run.started_usec else "waiting"
        table.add_row(*_who(job, run), bar, passed, span(limit))
    return table


def _gone(picture: Picture) -> Table:
    table = _table()
    table.add_column("AT")
    table.add_column("RESULT")  # the one that may take several lines
    for job, run in picture.gone:
        result = ended(run)
        table.add_row(*_who(job, run), at(run.ended_usec), Text(result, style=colour(result)))
    return table


def _table() -> Table:
    """Return a table with the columns that tell which run it is."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, width in (("RUN", 7), ("HOOK", 16), ("PHASE", 5), ("JOB", 7), ("PROFILE", 16)):
        table.add_column(heading, max_width=width, no_wrap=True, overflow="ellipsis")
    return table


def _who(job: Job, run: HookRun) -> list[Text]:
    cells = (run.run_id, run.hook, run.phase.value, job.job_id, job.profile)
    return [Text(safe(str(cell))) for cell in cells]
