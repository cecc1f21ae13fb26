# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every place where the code of either process gives away a callback, found by walking the code.

Those are: what is given to the event loop, to a thread, to `hookd.system.faults`, to the store or
the journal; what a constructor takes to call; and what a transport calls. hookd is not imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TREE = Path(__file__).parents[2]

LOOP = {
    "call_soon": 0, "call_later": 1, "call_at": 1, "call_soon_threadsafe": 0, "add_reader": 1,
    "add_writer": 1, "add_signal_handler": 1, "create_task": 0, "ensure_future": 0,
    "add_done_callback": 0, "run_in_executor": 1, "to_thread": 0,
}  # fmt: skip
FAULTS = {"Timer": 0, "keep": 1, "guarded": 1}
OURS = {"submit": 1, "when_flushed": 0, "add": 1}
TAKES = {**LOOP, **FAULTS, **OURS}
"""Who calls back, and which of its arguments that is."""

TRANSPORT = {
    "made", "lost", "get_buffer", "buffer_updated", "eof_received", "pause_writing",
    "resume_writing",
}  # fmt: skip


class Point(NamedTuple):
    """A place where a callback is given away: its name, and the lines of the file."""

    name: str
    file: str
    first: int
    last: int
    called: str
    callback: ast.expr | None


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield each file that a loop of either process runs in."""
    for path in sorted((TREE / "hookd").rglob("*.py")):
        name = str(path.relative_to(TREE))
        if "/cli/" not in name and name not in ("hookd/client.py", "hookd/system/faults.py"):
            yield name, ast.parse(path.read_text())


def points() -> list[Point]:
    """Return every place."""
    found: list[Point] = []
    for file, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                found += _of_call(file, node)
            elif isinstance(node, ast.ClassDef):
                found += _of_class(file, node)
    return found


def _of_call(file: str, node: ast.Call) -> Iterator[Point]:
    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
    given = [keyword.value for keyword in node.keywords if keyword.arg == "target"]
    if called == "add" and not ast.unparse(node.func).endswith("loop_calls.add"):
        return  # of a set
    if called in TAKES:
        given = node.args[TAKES[called] : TAKES[called] + 1]
    elif called != "Thread":
        return
    for callback in given:
        name = f"{file}: {called}: {ast.unparse(callback)[:60]}"
        yield Point(name, file, node.lineno, node.end_lineno or node.lineno, called, callback)


def _of_class(file: str, node: ast.ClassDef) -> Iterator[Point]:
    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    for method in node.body:
        if not isinstance(method, ast.FunctionDef):
            continue
        if bases & {"Connection", "BufferedProtocol"} and method.name in TRANSPORT:
            yield Point(f"{file}: {node.name}.{method.name}", file, 0, 0, method.name, None)
        if method.name == "__init__":
            for given in method.args.args:
                if given.annotation and ast.unparse(given.annotation).startswith("Callable["):
                    name = f"{file}: {node.name}({given.arg})"
                    yield Point(name, file, 0, 0, "__init__", None)
