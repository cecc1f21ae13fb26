# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table: on a terminal, and between the markers of a Markdown file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import HEADINGS, Line

FRONT_PAGE = (
    (
        "runs of `/bin/true`, 64 connections",
        "hook runs for 64 clients at once, each committed to disk, limited and recorded",
        "benchmarks/run runs",
    ),
    (
        "send to first instruction, idle, median",
        "from the request to the first instruction of the hook, with the commit in between",
        "benchmarks/run latency",
    ),
    (
        "resident memory fresh, both processes",
        "of resident memory after the start, both processes together",
        "benchmarks/run weight",
    ),
)
"""What the README shows: the line of the table, what it says to a user, how to measure it."""

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def aligned(lines: Sequence[Line]) -> str:
    """Return the table for people at a terminal."""
    rows = [HEADINGS, *(line.cells() for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def whole(lines: Sequence[Line]) -> str:
    """Return the whole table in Markdown."""
    return _markdown([HEADINGS, *(line.cells() for line in lines)])


def front_page(lines: Sequence[Line]) -> str:
    """Return the figures of `FRONT_PAGE` in Markdown, each with the command that measures it."""
    found = {line.what: line for line in reversed(lines)}
    rows = [["figure", "what", "measured by"]]
    for what, explained, command in FRONT_PAGE:
        if what in found:
            rows.append([str(found[what].ours), explained, f"`{command}`"])
    return _markdown(rows)


def replace(file: Path, text: str) -> None:
    """Put a text between the markers of a file. Raises ValueError where it has none."""
    before, begin, rest = file.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{file} has no markers {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
