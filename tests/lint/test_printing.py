# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is printed goes through hookd/system/terminal.py, which escapes it and never fails."""

from __future__ import annotations

import ast

from tests.lint.tree import TREE, name

ALLOWED = {
    "hookd/cli/draw.py: console.print",  # rich, of cells that are escaped
    "hookd/runner/launcher.py: sys.stderr",  # a program of its own, whose output nobody reads
}

PRINTS = ("print", "echo", "secho", "stdout", "stderr")


def _used(node: ast.AST) -> str | None:
    """Return what an expression prints with, None where it does not."""
    if isinstance(node, ast.Call):
        function = ast.unparse(node.func)
        if function.rpartition(".")[2] in PRINTS:
            return function
    if isinstance(node, ast.Attribute) and node.attr != "isatty":
        stream = ast.unparse(node.value)
        if stream in ("sys.stdout", "sys.stderr"):
            return stream
    return None


def test_one_module_prints() -> None:
    found = {
        f"{name(path)}: {used}"
        for path in (TREE / "hookd").rglob("*.py")
        if path.name != "terminal.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if (used := _used(node)) is not None
    }
    assert found - ALLOWED == set()
