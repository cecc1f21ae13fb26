# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write the tables that documents take from the code: between `made: NAME` and `made: end`.

usage: python3 packaging/pages.py

Committed, so that they can be read where the code lies; tests/packaging holds them to it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TREE))

from hookd.server.storage.states import JOB_STATES, RUN_STATES  # noqa: E402

PAGES = (TREE / "docs/ARCHITECTURE.md",)
MARKS = re.compile(r"(?s)(<!-- made: (?!end)([a-z-]+) -->\n).*?(<!-- made: end -->)")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table's lines."""
    for cells in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(cells)} |"


def run_changes() -> Iterator[str]:
    """Yield what can happen to a run on disk."""
    rows = [
        (state, change, after)
        for state, row in RUN_STATES.items()
        for change, after in row.changes.items()
    ]
    return table(("a run that is", "by the change", "becomes"), rows)


def meetings() -> Iterator[str]:
    """Yield what is done with a run when server and runner meet."""
    rows = [
        (state, "this one" if same else "another, or none", knowledge, recovery)
        for state, row in RUN_STATES.items()
        for (same, knowledge), recovery in row.recovery.items()
    ]
    headings = ("in the books", "handed to which runner", "this runner has it", "what is done")
    return table(headings, rows)


def job_changes() -> Iterator[str]:
    """Yield what can happen to a job."""
    rows = [
        (state, change, after)
        for state, changes in JOB_STATES.items()
        for change, after in changes.items()
    ]
    return table(("a job that is", "by the change", "becomes"), rows)


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "run-changes": run_changes,
    "meetings": meetings,
    "job-changes": job_changes,
}


def written(page: str) -> str:
    """Return a page with each part made anew."""
    return MARKS.sub(lambda m: m[1] + "\n".join(PARTS[m[2]]()) + "\n" + m[3], page)


def main() -> None:
    """Write the pages."""
    for page in PAGES:
        page.write_text(written(page.read_text()))


if __name__ == "__main__":
    main()
