# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl jobs and hookctl job: show a page of jobs, or all data of one."""

from __future__ import annotations

import time
from typing import Any

import click

from hookd.cli.arguments import WHO
from hookd.cli.base import DONE, Settings, note
from hookd.cli.command import command, options, whole
from hookd.cli.draw import at, paint, table
from hookd.cli.when import past
from hookd.cli.words import ended, hooks_in_short, job_age, job_state, moment, size, span
from hookd.manager_api import ListJobs, ListJobsReply
from hookd.model import HookRun, Job, JobState, Outcome
from hookd.system.terminal import Painted, print_json, say

_HEADINGS = (
    "JOB", "STATE", "PROFILE", "USER", "CLIENT", "STARTED", "DURATION", "FILES", "BYTES", "HOOKS",
)  # fmt: skip


LINES = 5
"""The number of last output lines of a run that `hookctl job` shows."""


@command()
@options(*WHO)
@click.option(
    "--state", type=click.Choice([s.value for s in JobState]), help="Only jobs in this state."
)
@click.option(
    "--outcome", type=click.Choice([o.value for o in Outcome]), help="Only jobs with this outcome."
)
@click.option(
    "--since",
    "since_usec",
    type=past,
    metavar="TIME",
    help="Only jobs that started at or after TIME.",
)
@click.option(
    "--until", "until_usec", type=past, metavar="TIME", help="Only jobs that started before TIME."
)
@click.option("--unfinished", is_flag=True, help="Only jobs with waiting or running hooks.")
@click.option("--limit", type=whole(1, 1000), default="100", help="Maximum number of jobs.")
@click.option("--cursor", help="Continue after the previous page.")
def jobs(settings: Settings, **filters: Any) -> int:
    """List jobs, newest first.

    A TIME is 2026-01-31, "2026-01-31 18:00", or 2h for two hours ago.
    """
    with settings.client() as hookd:
        asked = ListJobs(**filters)
        page = hookd.call("io.hookd.Manager.ListJobs", asked, ListJobsReply, repeat=True)
    if settings.json:
        print_json(page)
        return DONE
    now = time.time_ns() // 1000
    table(_HEADINGS, [_row(job, now) for job in page.jobs], ("CLIENT", "FILES", "USER"))
    if page.cursor:
        note(f"there are older jobs: repeat with --cursor {page.cursor}")
    return DONE


def _row(job: Job, now: int) -> list[object]:
    return [
        job.job_id,
        job_state(job),
        job.profile,
        job.user,
        job.client_ip,
        at(job.started_usec),
        span(job_age(job, now)),
        job.file_count,
        size(job.byte_count),
        hooks_in_short(job),
    ]


@command()
@click.argument("job_id", type=whole())
def job(settings: Settings, job_id: int) -> int:
    """Show one job.

    Its events and its runs are listed by time, with the results and the resources used.
    """
    with settings.client() as hookd:
        found = hookd.get_job(job_id)
    if settings.json:
        print_json(found)
        return DONE
    _show(found)
    return DONE


_Moment = tuple[int | None, list[str | Painted], list[str]]
"""The time of an event (None: not yet), its text, and the lines that belong to it."""


def _show(job: Job) -> None:
    say(f"job {job.job_id}: ", paint(job_state(job)))
    facts = [
        ("profile", job.profile),
        ("user", job.user),
        ("client", f"{job.client_ip} build {job.client_build_no}".removesuffix(" build ")),
        ("server's", job.server_job_id),
        ("started", moment(job.started_usec)),
        ("contents", f"{job.file_count} files, {size(job.byte_count)}" if job.ended_usec else ""),
        ("reason", job.reason),
        ("message", job.message),
        *((key, value) for key, value in job.attributes.items()),
    ]
    for name, value in facts:
        if value:
            say(f"  {name:<8} {value}")
    for usec, words, printed in _timeline(job):
        passed = "waiting" if usec is None else "+" + span(max(0, usec - job.started_usec))
        say(f"{passed:>11}  ", *words)
        for line in printed:
            say(f"{'':11}  {line}")


def _timeline(job: Job) -> list[_Moment]:
    life: list[_Moment] = [(job.started_usec, ["job started"], [])]
    if job.ended_usec is not None:
        life.append((job.ended_usec, ["job ended: ", paint(job_state(job))], []))
    for run in job.hooks:
        name = f"{run.phase.value} hook {run.hook} (run {run.run_id}"
        name += f", attempt {run.attempt})" if run.attempt > 1 else ")"
        if run.started_usec is not None:
            life.append((run.started_usec, [f"{name} started"], []))
        if run.ended_usec is not None:
            life.append(
                (run.ended_usec, [f"{name} ", paint(ended(run))], _receipt(run) + _printed(run))
            )
        elif run.started_usec is None:
            life.append((None, [f"{name} waits"], []))
    return sorted(life, key=lambda entry: (entry[0] is None, entry[0] or 0))


def _printed(run: HookRun) -> list[str]:
    """Return the last lines of a run's output, if there are any and the journal has them."""
    if not run.output_bytes:
        return []
    from hookd.cli import reader

    found = reader.output(run, LINES) if reader.has_journal() else []
    return ["| " + line for line in found]


def _receipt(run: HookRun) -> list[str]:
    """Return the resources that a run has used, as one line; no line if nothing was started."""
    if run.started_usec is None:
        return []
    parts = [f"wall {span(run.duration_usec)}"]
    if run.cpu_usec is not None:
        parts.append(f"cpu {span(run.cpu_usec)}")
    if run.memory_peak:
        parts.append(f"memory {size(run.memory_peak)}")
    if run.output_bytes:
        dropped = f" ({size(run.output_dropped)} dropped)" if run.output_dropped else ""
        parts.append(f"output {size(run.output_bytes)}{dropped}")
    if run.leftovers or run.survivors:
        parts.append(f"leftovers {run.leftovers or 0} ({run.survivors or 0} survived)")
    return [", ".join(parts)]
