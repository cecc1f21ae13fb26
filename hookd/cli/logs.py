# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl logs: show what hookd and its hooks have written to the journal."""

from __future__ import annotations

import os

import click

from hookd.cli.base import DONE, REFUSED, Settings, note
from hookd.cli.command import command, whole
from hookd.cli.reader import (
    Record,
    as_text,
    follow,
    has_journal,
    last,
    moment_of,
    open_reader,
)
from hookd.cli.when import past
from hookd.cli.words import moment
from hookd.system.terminal import Painted, print_json, say

STYLES = {3: "red", 4: "yellow", 5: "cyan"}
"""The colour of a line by its priority; see syslog(3)."""


@command()
@click.argument("job_id", type=whole(), required=False)
@click.option("--run", "run_id", type=whole(), metavar="ID", help="Only records of this run.")
@click.option(
    "-f", "--follow", "following", is_flag=True, help="Print new records as they arrive."
)
@click.option("-n", "--lines", type=whole(0), help="Print only the last N records.")
@click.option(
    "--since", type=past, metavar="TIME", help="Only records since this time; see hookctl jobs."
)
def logs(
    settings: Settings,
    job_id: int | None,
    run_id: int | None,
    following: bool,
    lines: int | None,
    since: int | None,
) -> int:
    """Show the records of hookd, or of one job.

    They come from the journal and include the output of the hooks. Without a job and without
    options, the last 100 are shown.
    """
    if not has_journal():
        note("no journal on this machine: hookd's records are on its standard error")
        return REFUSED
    if lines is None and job_id is run_id is since is None:
        lines = 100
    reader = open_reader(HOOKD_JOB_ID=job_id, HOOKD_RUN_ID=run_id)
    found = last(reader, lines, since or 0)
    for record in found:
        _print(record, settings.json)
    if following:
        for record in follow(reader, found[-1] if found else None):
            _print(record, settings.json)
    if not found:
        hint = "" if os.geteuid() == 0 else " (members of the group systemd-journal see them all)"
        note(f"no records found{hint}")
    return DONE


def _print(record: Record, as_json: bool) -> None:
    usec = moment_of(record)
    if as_json:
        kept = {name: as_text(value) for name, value in record.items() if not name.startswith("_")}
        print_json({"time_usec": usec} | kept)
        return
    name = as_text(record.get("SYSLOG_IDENTIFIER", "hookd"))
    mark = "|" if "HOOKD_STREAM" in record else ":"
    line = f"{moment(usec)} {name}{mark} {as_text(record.get('MESSAGE', ''))}"
    say(Painted(line, STYLES.get(record.get("PRIORITY", 6), "")), at_once=True)
