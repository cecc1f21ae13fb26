# SPDX-License-Identifier: LGPL-2.1-or-later
"""A look at hookd's database from beside it."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def handed_over(database: Path) -> int:
    """Return how many runs stand there as given to a runner."""
    return count(database, "runs WHERE runner IS NOT NULL")


def count(database: Path, table: str) -> int:
    """Return how many rows a table has."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    try:
        ((number,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        return int(number)
    finally:
        connection.close()
