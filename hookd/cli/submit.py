# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl start, hookctl end: what a backup script calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import msgspec

from hookd.cli.base import DONE, GATE_REFUSED, REFUSED, Settings, command, note, print_json
from hookd.client import Client
from hookd.errors import NoSuchJob
from hookd.model import FAILURES, HookRun, Job, Outcome, Result

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_BAD = FAILURES | {Result.CANCELLED, Result.INTERRUPTED}


def joined(*several: Decorator) -> Decorator:
    """Join options into one decorator; help shows them in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for one in reversed(several):
            function = one(function)
        return function

    return decorate


def _attributes(
    context: click.Context, option: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise click.BadParameter(f"found {pair!r}; allowed: KEY=VALUE", context, option)
    return dict(pair.split("=", 1) for pair in pairs)


who_options = joined(
    click.option("--profile", metavar="NAME", help="The job's profile."),
    click.option("--user", metavar="EMAIL", help="The user whose data it is."),
    click.option("--client-ip", metavar="ADDRESS", help="The client's IP address."),
)
"""Whose job it is. What of it is required depends on the command."""

start_options = joined(
    click.option("--client-build-no", default="", metavar="N", help="The client's build number."),
    click.option(
        "--attribute",
        "attributes",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_attributes,
        help="Anything else worth keeping; may be given again.",
    ),
)

end_options = joined(
    click.option("--file-count", type=int, default=0, help="Files in all."),
    click.option("--byte-count", type=int, default=0, help="Bytes in all."),
    click.option("--outcome", type=click.Choice([o.value for o in Outcome]), help="How it went."),
    click.option("--message", metavar="TEXT", help="A word on the outcome."),
)

request_options = joined(
    click.option(
        "--request-id",
        metavar="ID",
        help="The same ID again is answered as before, and runs nothing twice.",
    ),
    click.option("--wait", is_flag=True, help="Wait until the event's hooks have ended."),
)

server_job_option = click.option(
    "--server-job-id", metavar="ID", help="The backup server's own ID of the job."
)


@command()
@who_options
@start_options
@server_job_option
@request_options
def start(settings: Settings, **values: Any) -> int:
    """Say that a job starts; print its ID.

    Exits with 75 where a gate hook refuses the job.
    """
    for name in ("profile", "client_ip"):
        if not values[name]:
            raise click.UsageError(f"--{name.replace('_', '-')} is missing; a job needs one")
    values["user"] = values["user"] or ""
    with settings.client() as hookd:
        answer = hookd.start_job(**values)
    if settings.json:
        print_json(answer)
    elif answer.allowed:
        print(answer.job_id)
    if not answer.allowed:
        note(f"job {answer.job_id} is refused: {answer.reason or 'no reason given'}")
        return GATE_REFUSED
    return judge(answer.hooks) if values["wait"] else DONE


@command()
@click.argument("job_id", type=int, required=False)
@server_job_option
@who_options
@end_options
@request_options
def end(settings: Settings, job_id: int | None, **values: Any) -> int:
    """Say that a job has ended.

    The job is named by the ID that start printed, by --server-job-id, or as the newest running
    one of --profile, --user and --client-ip.
    """
    who = {name: values.pop(name) for name in ("profile", "user", "client_ip")}
    named = [job_id is not None, bool(values["server_job_id"]), any(who.values())]
    if sum(named) != 1:
        raise click.UsageError(
            "name the job in one way: JOB_ID, --server-job-id, or --profile --user --client-ip"
        )
    with settings.client() as hookd:
        if any(who.values()):
            job_id = newest_running(hookd, **who)
        answer = hookd.end_job(job_id, **values)
    if settings.json:
        print_json(answer)
    return judge(answer.hooks) if values["wait"] else DONE


class _Jobs(msgspec.Struct):
    jobs: list[Job]


def newest_running(hookd: Client, **who: str | None) -> int:
    """Return the ID of the newest running job of this profile, user and client.

    What is None may be anything. Raises NoSuchJob.
    """
    asked = {"state": "running", "limit": 1, **who}
    found = hookd.call("io.hookd.Manager.ListJobs", asked, _Jobs, repeat=True).jobs
    if not found:
        raise NoSuchJob(server_job_id=" ".join(f"{k}={v}" for k, v in who.items() if v))
    return found[0].job_id


def judge(runs: list[HookRun]) -> int:
    """Return the exit code of a command that waited; name each hook that failed."""
    from hookd.cli.words import ended

    bad = [run for run in runs if run.result in _BAD]
    for run in bad:
        note(f"hook {run.hook} (run {run.run_id}): {ended(run)}")
    return REFUSED if bad else DONE
