# SPDX-License-Identifier: LGPL-2.1-or-later
"""No file, class or function is larger than a reader can hold in mind."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).parents[2]
FOLDERS = ("hookd", "tests", "benchmarks", "docs", "packaging")
FILE_LINES, CLASS_METHODS, FUNCTION_LINES, TEST_LINES = 400, 25, 50, 60
MOCKS_PER_1000_LINES = 2
MOCK = re.compile(r"\bmock\.|\b\w*Mock\(|\bmonkeypatch\.set(attr|item)\b|\bpatch\(")

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


def _whose(line: str) -> str:
    """Return the file, class or function of a line that says how large it is."""
    return re.sub(r": \d+ \w+, allowed: \d+$", "", line)


def test_sizes() -> None:
    found = [line for name, text in _sources() for line in _too_large(name, text)]
    wrong = [line for line in found if _whose(line) not in EXCEPTIONS]
    assert not wrong, "\n".join(wrong)
    assert {_whose(line) for line in found} >= EXCEPTIONS.keys()


def test_tests_meet_the_real_thing() -> None:
    lines = [
        line for name, text in _sources() if name[:6] == "tests/" for line in text.split("\n")
    ]
    mocks = [line.strip() for line in lines if MOCK.search(line)]
    assert mocks, "the pattern finds nothing any more"
    assert len(mocks) * 1000 <= MOCKS_PER_1000_LINES * len(lines), "\n".join(mocks)
