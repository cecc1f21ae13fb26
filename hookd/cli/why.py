# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl why: which hooks a job's events matched, and which rule decided."""

from __future__ import annotations

import click
import msgspec

from hookd.cli.base import DONE, Settings, print_json
from hookd.cli.command import command
from hookd.cli.draw import table
from hookd.cli.status import HooksReply
from hookd.cli.words import span
from hookd.model import Phase


class Explanation(msgspec.Struct):
    """`type Explanation` of io.hookd.Manager."""

    hook: str
    phase: Phase
    matched: bool
    rule: str
    reason: str


class _Reply(msgspec.Struct):
    hooks: list[Explanation]


@command()
@click.argument("job_id", type=int)
def why(settings: Settings, job_id: int) -> int:
    """Say of each hook why it ran for a job, or did not.

    By the configuration of now.
    """
    with settings.client() as hookd:
        asked = {"job_id": job_id}
        found = hookd.call("io.hookd.Manager.Explain", asked, _Reply, repeat=True).hooks
        hooks = hookd.call("io.hookd.Manager.ListHooks", {}, HooksReply, repeat=True).hooks
    if settings.json:
        print_json(found)
        return DONE
    limits = {hook.name: span(hook.timeout_usec) for hook in hooks}
    headings = ["HOOK", "PHASE", "MATCHED", "RULE", "REASON", "TIMEOUT"]
    table(headings, [_row(one, limits.get(one.hook, "-")) for one in found])
    return DONE


def _row(one: Explanation, limit: str) -> list[object]:
    matched = "yes" if one.matched else "no"
    return [one.hook, one.phase.value, matched, one.rule, one.reason, limit]
