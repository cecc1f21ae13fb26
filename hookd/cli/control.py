# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl cancel, resume and replay: what an operator does about hooks that run, or do not."""

from __future__ import annotations

import click

from hookd.cli.base import DONE, Settings
from hookd.cli.command import command, whole
from hookd.cli.draw import table
from hookd.manager_api import Cancel, CancelReply, Replay, ReplayReply, Resume, ResumeReply
from hookd.system.terminal import print_json, say


@command()
@click.argument("job_id", type=whole(), required=False)
@click.option("--run", "run_id", type=whole(), metavar="ID", help="Only this run of a hook.")
def cancel(settings: Settings, job_id: int | None, run_id: int | None) -> int:
    """End the hooks of a job, or one run.

    What waits is not started any more; what runs gets TERM and, after its kill_grace, KILL.
    """
    if (job_id is None) == (run_id is None):
        raise click.UsageError("name one thing: JOB_ID or --run ID")
    asked = Cancel(job_id=job_id, run_id=run_id)
    with settings.client() as hookd:
        answer = hookd.call("io.hookd.Manager.Cancel", asked, CancelReply, repeat=True)
    if settings.json:
        print_json(answer)
    else:
        runs = ", ".join(str(run) for run in answer.runs)
        say(f"cancelled: run {runs}" if runs else "nothing of it waits or runs")
    return DONE


@command()
@click.argument("hook")
def resume(settings: Settings, hook: str) -> int:
    """Free a hook that was parked after failures in a row."""
    with settings.client() as hookd:
        asked = Resume(hook=hook)
        answer = hookd.call("io.hookd.Manager.Resume", asked, ResumeReply, repeat=True)
    if settings.json:
        print_json(answer)
    return DONE


@command()
@click.argument("job_id", type=whole())
def replay(settings: Settings, job_id: int) -> int:
    """Run the hooks of a job once more.

    For each event that the job has had, by the configuration of now, as the next attempt.
    """
    asked = Replay(job_id=job_id)
    with settings.client() as hookd:
        answer = hookd.call("io.hookd.Manager.Replay", asked, ReplayReply)
    if settings.json:
        print_json(answer)
        return DONE
    rows = [[run.run_id, run.hook, run.phase.value, run.attempt] for run in answer.hooks]
    table(["RUN", "HOOK", "PHASE", "ATTEMPT"], rows)
    return DONE
