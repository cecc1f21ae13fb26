# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl cancel, resume and replay: control the runs of hooks."""

from __future__ import annotations

import click

from hookd.cli.base import DONE, Settings
from hookd.cli.command import command, whole
from hookd.cli.draw import table
from hookd.manager_api import Cancel, CancelReply, Replay, ReplayReply, Resume, ResumeReply
from hookd.system.terminal import print_json, say


@command()
@click.argument("job_id", type=whole(), required=False)
@click.option("--run", "run_id", type=whole(), metavar="ID", help="Cancel only this run.")
def cancel(settings: Settings, job_id: int | None, run_id: int | None) -> int:
    """Cancel the hooks of a job, or one run.

    A waiting run is not started. A running one gets SIGTERM and, after its kill_grace, SIGKILL.
    """
    if (job_id is None) == (run_id is None):
        raise click.UsageError("give either JOB_ID or --run ID")
    asked = Cancel(job_id=job_id, run_id=run_id)
    with settings.client() as hookd:
        answer = hookd.call("io.hookd.Manager.Cancel", asked, CancelReply, repeat=True)
    if settings.json:
        print_json(answer)
    else:
        runs = ", ".join(str(run) for run in answer.runs)
        say(f"cancelled: run {runs}" if runs else "no run is waiting or running")
    return DONE


@command()
@click.argument("hook")
def resume(settings: Settings, hook: str) -> int:
    """Release a parked hook from quarantine."""
    with settings.client() as hookd:
        asked = Resume(hook=hook)
        answer = hookd.call("io.hookd.Manager.Resume", asked, ResumeReply, repeat=True)
    if settings.json:
        print_json(answer)
    return DONE


@command()
@click.argument("job_id", type=whole())
def replay(settings: Settings, job_id: int) -> int:
    """Run the hooks of a job again.

    The hooks of all its events run with the current configuration, as their next attempts.
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
