# SPDX-License-Identifier: LGPL-2.1-or-later
"""The files of the tree, for those who look at all of them."""

from __future__ import annotations

from pathlib import Path

TREE = Path(__file__).parents[2]
FOLDERS = ("hookd", "tests", "benchmarks", "docs", "packaging", "systemd", ".ci")
MADE = ("__pycache__", "corpus")  # by Python, by a fuzzer: nobody wrote these


def files() -> list[Path]:
    """Return everything in the folders that somebody wrote, and what lies beside them."""
    found = [path for folder in FOLDERS for path in (TREE / folder).rglob("*")]
    found += (path for path in TREE.iterdir() if not path.name.startswith(".coverage"))
    return sorted(path for path in found if path.is_file() and not set(MADE) & set(path.parts))


def name(path: Path) -> str:
    """Return a file's path as the documents write it."""
    return str(path.relative_to(TREE))
