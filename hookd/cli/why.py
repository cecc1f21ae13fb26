# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl why: show which hooks match a job's events, which rule decides, and the limits."""

from __future__ import annotations

import click

from hookd.cli.base import DONE, Settings
from hookd.cli.command import command, whole
from hookd.cli.draw import table
from hookd.cli.words import size, span
from hookd.config.options import LIMITS
from hookd.manager_api import Explain, ExplainReply, Explanation, Limits
from hookd.system.terminal import print_json


@command()
@click.argument("job_id", type=whole())
def why(settings: Settings, job_id: int) -> int:
    """Explain which hooks match the events of a job.

    The current configuration decides.
    """
    with settings.client() as hookd:
        asked = Explain(job_id=job_id)
        found = hookd.call("io.hookd.Manager.Explain", asked, ExplainReply, repeat=True).hooks
    if settings.json:
        print_json(found)
        return DONE
    headings = ["HOOK", "PHASE", "MATCHED", "RULE", "REASON", "LIMITS"]
    table(headings, [_row(one) for one in found])
    return DONE


def _row(one: Explanation) -> list[object]:
    matched = "yes" if one.matched else "no"
    return [one.hook, one.phase.value, matched, one.rule, one.reason, _in_words(one.limits)]


def _in_words(limits: Limits) -> str:
    """Return the limits that are set, as in a hook's file: `timeout 10min, memory 512M`."""
    parts: list[str] = []
    for option in LIMITS:
        name, unit = option.key, option.kind.unit
        value = limits.get(f"{name}_usec" if unit == "s" else name)
        if value is None or (name, value) in _NONE:
            continue
        if unit == "s":
            value = span(value)
        elif unit == "bytes":
            value = size(value)
        elif isinstance(value, list):
            value = " ".join(map(str, value))
        parts.append(f"{name} {value}")
    return ", ".join(parts)


_NONE = (("nice", 0), ("io_class", "none"))
"""Values that change nothing."""
