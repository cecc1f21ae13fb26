# SPDX-License-Identifier: LGPL-2.1-or-later
"""No file, class or function is larger than a reader can hold in mind."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).parents[2]
FOLDERS = ("hookd", "tests", "benchmarks", "docs", "packaging")
FILE_LINES, CLASS_METHODS, FUNCTION_LINES, TEST_LINES = 400, 25, 50, 60

EXCEPTIONS: dict[str, str] = {}
"""What is larger all the same, and why it would be worse in pieces."""


def _sources() -> Iterator[tuple[str, str]]:
    for folder in FOLDERS:
        for path in sorted((TREE / folder).rglob("*.py")):
            yield str(path.relative_to(TREE)), path.read_text()


def _too_large(name: str, text: str) -> Iterator[str]:
    if (lines := text.count("\n")) > FILE_LINES:
        yield f"{name}: {lines} lines, allowed: {FILE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            most = TEST_LINES if name.startswith("tests/") else FUNCTION_LINES
            if (lines := (node.end_lineno or 0) - node.lineno + 1) > most:
                yield f"{name}: {node.name}: {lines} lines, allowed: {most}"
        elif isinstance(node, ast.ClassDef):
            methods = [
                n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
            ]
            if len(methods) > CLASS_METHODS:
                yield f"{name}: {node.name}: {len(methods)} methods, allowed: {CLASS_METHODS}"


def test_sizes() -> None:
    found = [line for name, text in _sources() for line in _too_large(name, text)]
    wrong = [line for line in found if line.rpartition(": ")[0] not in EXCEPTIONS]
    assert not wrong, "\n".join(wrong)
    assert {line.rpartition(": ")[0] for line in found} >= EXCEPTIONS.keys()
