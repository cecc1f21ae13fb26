# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl why: which hooks a job's events matched, which rule decided, and under what limits."""

from __future__ import annotations

import click
import msgspec

from hookd.cli.base import DONE, Settings, print_json
from hookd.cli.command import command
from hookd.cli.draw import table
from hookd.cli.words import size, span
from hookd.model import Phase


class Limits(msgspec.Struct):
    """`type Limits` of io.hookd.Manager."""

    timeout_usec: int
    kill_grace_usec: int
    cpu_time_usec: int | None
    memory: int | None
    processes: int | None
    open_files: int | None
    file_size: int | None
    output: int
    nice: int
    io_class: str
    cpu_affinity: list[int] | None
    cpu_weight: int | None


class Explanation(msgspec.Struct):
    """`type Explanation` of io.hookd.Manager."""

    hook: str
    phase: Phase
    matched: bool
    rule: str
    reason: str
    limits: Limits


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
    """Return the limits there are as a hook's file names them: `timeout 10min, memory 512M`."""
    parts: list[tuple[str, object]] = []
    for name, value in msgspec.structs.asdict(limits).items():
        if value is None or (name, value) in _NONE:
            continue
        if name.endswith("_usec"):
            parts.append((name.removesuffix("_usec"), span(value)))
        elif name in ("memory", "file_size", "output"):
            parts.append((name, size(value)))
        elif name == "cpu_affinity":
            parts.append((name, " ".join(map(str, value))))
        else:
            parts.append((name, value))
    return ", ".join(f"{name} {value}" for name, value in parts)


_NONE = (("nice", 0), ("io_class", "none"))
"""Values that change nothing."""
