# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write the tables that documents take from the code: between `made: NAME` and `made: end`.

usage: python3 packaging/pages.py

The pages are committed, so that a reader of the repository has them. tests/packaging and
tests/lint compare them with the code.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TREE))

from hookd.server.runs.run import TRANSITIONS, RunPhase  # noqa: E402
from hookd.server.storage.states import JOB_STATES, RUN_STATES  # noqa: E402
from tests.lint.test_layers import ORDER  # noqa: E402

PAGES = (TREE / "docs/ARCHITECTURE.md",)
MARKS = re.compile(r"(?s)(<!-- made: (?!end)([a-z-]+) -->\n).*?(<!-- made: end -->)")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table's lines."""
    for cells in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(cells)} |"


def run_phases() -> Iterator[str]:
    """Yield the phases of a run in memory: a picture of what follows what, and what each means."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {RunPhase.NEW}"
    for phase, following in TRANSITIONS.items():
        for after in RunPhase:
            if after in following:
                yield f"    {phase} --> {after}"
        if not following:
            yield f"    {phase} --> [*]"
    yield "```"
    yield ""
    source = (TREE / "hookd/server/runs/run.py").read_text()
    meanings = dict(re.findall(r'(?m)^    [A-Z]+ = "(\w+)"  # (.*)$', source))
    yield from table(("phase", "the run"), [(phase, meanings[phase]) for phase in RunPhase])


def folder_path(folder: str) -> str:
    """Return the path of a folder that ORDER names with dots; "" is hookd itself."""
    return "/".join(("hookd", *folder.split("."))).rstrip("/")


def purpose(folder: str) -> str:
    """Return the first sentence of a folder's description, without its full stop."""
    tree = ast.parse((TREE / folder_path(folder) / "__init__.py").read_text())
    text = " ".join((ast.get_docstring(tree) or "").split())
    return re.split(r"\.(?: |$)", text)[0]


def imported(folder: str) -> list[str]:
    """Return the other folders that the files of a folder import, in their order."""
    found: set[str] = set()
    for path in (TREE / folder_path(folder)).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hookd"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.startswith("hookd.")]
            else:
                continue
            found |= {folder_of(name) for name in names}
    return [other for other in ORDER if other in found - {folder}]


def folder_of(name: str) -> str:
    """Return the folder that a module lies in, or a name of a module."""
    inner = name.partition(".")[2]
    while inner not in ORDER:
        inner = inner.rpartition(".")[0]
    return inner


def folders() -> Iterator[str]:
    """Yield the folders of hookd in their order: what each is for, and what it imports."""
    rows = []
    for folder in ORDER:
        others = ", ".join(f"`{other}`" if other else "`hookd`" for other in imported(folder))
        rows.append((f"`{folder_path(folder)}/`", purpose(folder), others))
    return table(("folder", "what it is for", "imports"), rows)


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
    headings = ("in the database", "handed to which runner", "at this runner", "what is done")
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
    "run-phases": run_phases,
    "folders": folders,
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
