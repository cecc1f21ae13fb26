# SPDX-License-Identifier: LGPL-2.1-or-later
"""The files of the tree, for those who look at all of them."""

from __future__ import annotations

from pathlib import Path

TREE = Path(__file__).parents[2]
FOLDERS = ("hookd", "tests", "benchmarks", "docs", "packaging", "systemd", ".ci")
MADE = ("__pycache__", "corpus", "hookd-launcher")  # by Python, a fuzzer, a compiler
OURS = (".ci", ".gitignore")  # of what is hidden; the rest is an editor's or a cache


def _written(path: Path) -> bool:
    parts = path.relative_to(TREE).parts
    return not any(part in MADE or (part[0] == "." and part not in OURS) for part in parts)


def files() -> list[Path]:
    """Return every file in the folders that somebody wrote, and those that lie beside them."""
    found = [path for folder in FOLDERS for path in (TREE / folder).rglob("*")]
    return sorted(path for path in (*found, *TREE.iterdir()) if path.is_file() and _written(path))


def name(path: Path) -> str:
    """Return a file's path as the documents write it."""
    return str(path.relative_to(TREE))
