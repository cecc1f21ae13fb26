# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table: on a terminal, and between the markers of a Markdown file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import HEADINGS, Line

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


def ratios(lines: Sequence[Line]) -> str:
    """Return what has a bar, without what depends on the machine most: for the README."""
    rows = [["what", "beside", "result", "to reach", ""]]
    for line in lines:
        if line.bar is not None:
            result = line.ratio or line.ours
            rows.append([line.what, line.peer, str(result), str(line.bar), line.verdict])
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
