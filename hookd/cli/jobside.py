# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl start, end and syncrify for click, which prints their help and errors."""

from __future__ import annotations

from typing import Any

import click

from hookd.cli import submit
from hookd.cli.arguments import END, HELP, START
from hookd.cli.base import Settings
from hookd.cli.command import Command, command, options


@command()
@options(*START)
def start(settings: Settings, **values: Any) -> int:
    """Report the start of a job, and print its ID.

    The exit status is 75 if a gate hook refuses the job.
    """
    return submit.start(settings, _given(values), [])


@command()
@click.argument("job_id", required=False)
@options(*END)
def end(settings: Settings, job_id: str | None, **values: Any) -> int:
    """Report the end of a job.

    The job is given by the ID that start printed, by --server-job-id, or as the newest running
    job with this --profile, --user and --client-ip.
    """
    return submit.end(settings, _given(values), [job_id] if job_id else [])


class _Verbatim(Command):
    """A command whose words are all values: a profile may be `-rf`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse each word as an argument, except a single request for help."""
        return super().parse_args(ctx, args if args in HELP else ["--", *args])


@click.command(cls=_Verbatim)
@click.argument("words", nargs=-1, metavar=" ".join(f"${name}" for name in submit.SYNCRIFY))
@click.pass_obj
def syncrify(settings: Settings, words: tuple[str, ...]) -> int:
    """Report an event of Syncrify.

    This command is meant to be the jobHookScript in the AppConfig.xml of Syncrify. Without
    $JOB_ID, the newest running job of the same client, profile and user ends.
    """
    return submit.syncrify(settings, list(words))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in values.items() if value not in (None, False, {})}
