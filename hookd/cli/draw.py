# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tables: colours on a terminal, aligned columns and nothing else where the output is piped.

rich is imported for a terminal alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from hookd.cli.words import safe

RED = ("failed", "signalled", "timeout", "limit", "spawn-failed", "error", "lost", "parked")
YELLOW = ("warning", "refused", "canceled", "cancelled", "interrupted", "unknown")
GREEN = ("success", "ready", "healthy")
CYAN = ("running", "waiting")
NUMBERS = ("JOB", "RUN", "FILES", "BYTES", "DURATION", "CPU", "MEMORY", "OUTPUT", "FAILURES")
"""Headings of columns that stand to the right."""


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their headings. Cells are made safe here."""
    cells = [[safe(str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich(headings, cells)
    else:
        _plain(headings, cells)


def paint(text: str) -> str:
    """Return a state or result in its colour."""
    return style(text, colour(text))


def style(text: str, colour: str) -> str:
    """Return text in a colour (empty: none), where a terminal shows colours (no-color.org)."""
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=colour)


def colour(word: str) -> str:
    """Return the colour of a state or result, by its first word; empty where it has none."""
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
            cell.rjust(width) if heading in NUMBERS else cell.ljust(width)
            for cell, width, heading in zip(line, widths, headings, strict=True)
        )
        print("  ".join(padded).rstrip())


def _rich(headings: Sequence[str], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        right = heading in NUMBERS
        drawn.add_column(
            heading, justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    for row in cells:
        drawn.add_row(*(Text(cell, style=colour(cell)) for cell in row))
    Console(highlight=False).print(drawn)
