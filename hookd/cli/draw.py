# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tables: with colours on a terminal, only aligned columns if the output is piped.

rich is imported only for a terminal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from hookd.cli.words import cell, moment
from hookd.system.terminal import Painted, say

RED = ("failed", "signalled", "timeout", "limit", "spawn-failed", "error", "lost", "parked")
YELLOW = ("warning", "refused", "canceled", "cancelled", "interrupted", "unknown")
GREEN = ("success", "ready", "healthy")
CYAN = ("running", "waiting")
NUMBERS = ("JOB", "RUN", "FILES", "BYTES", "DURATION", "FAILURES", "ATTEMPT")
"""Headings of columns that are aligned to the right."""

SENTENCES = ("REASON", "COMMAND", "LAST RESULT", "LIMITS", "STATE", "HOOKS")
"""Headings of columns that may take several lines on a terminal; others are truncated."""

NARROWEST = 8  # columns of the terminal that a truncated column keeps at least
GAP = 2


def table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], spare: Sequence[str] = ()
) -> None:
    """Print rows under their headings. This escapes the cells.

    `spare` are headings whose columns are omitted on a narrow terminal, in this order.
    """
    cells = [[cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _rich(headings, cells, spare)
    else:
        _plain(headings, cells)


def at(usec: int | None) -> str:
    """Return a moment for a table; on a terminal, only the time if it is today."""
    full = moment(usec)
    today, _, clock = full.partition(" ")
    short = sys.stdout.isatty() and today == moment(time.time_ns() // 1000).partition(" ")[0]
    return clock if short else full


def paint(text: str) -> Painted:
    """Return a state or result with its colour."""
    return Painted(text, colour(text))


def colour(word: str) -> str:
    """Return the colour of a state or result, by its first word; empty if it has none."""
    first = word.replace(":", " ").partition(" ")[0]
    for name, words in (("red", RED), ("yellow", YELLOW), ("green", GREEN), ("cyan", CYAN)):
        if first in words:
            return name
    return ""


def _plain(headings: Sequence[str], cells: list[list[str]]) -> None:
    lines = [list(headings), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    for line in lines:
        padded = (
            text.rjust(width) if heading in NUMBERS else text.ljust(width)
            for text, width, heading in zip(line, widths, headings, strict=True)
        )
        say((" " * GAP).join(padded).rstrip())


def _rich(headings: Sequence[str], cells: list[list[str]], spare: Sequence[str]) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    lines = [list(headings), *cells]
    natural = {
        heading: max(cell_len(line[i]) for line in lines) for i, heading in enumerate(headings)
    }
    widths = fit(natural, console.width, spare)
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for heading, width in widths.items():
        drawn.add_column(
            heading,
            width=width,
            justify="right" if heading in NUMBERS else "left",
            no_wrap=heading not in SENTENCES,
            overflow="fold" if heading in SENTENCES else "ellipsis",
        )
    for row in cells:
        named = dict(zip(headings, row, strict=True))
        drawn.add_row(*(Text(named[heading], style=colour(named[heading])) for heading in widths))
    console.print(drawn)


def fit(natural: dict[str, int], width: int, spare: Sequence[str]) -> dict[str, int]:
    """Return the columns to show and the width of each, so that a line fits.

    Spare columns are omitted first; then the widest column is made narrower until the line fits.
    """
    widths = dict(natural)

    def excess() -> int:
        return sum(widths.values()) + GAP * (len(widths) - 1) - width

    for heading in spare:
        if excess() > 0:
            del widths[heading]
    while excess() > 0:
        widest = max(widths, key=lambda heading: widths[heading])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return widths
