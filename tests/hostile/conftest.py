# SPDX-License-Identifier: LGPL-2.1-or-later
"""The arena in each of its settings, and the table at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.arena import Arena, Fight
from tests.support.runner import Runner

# As root: a privileged runner whose hooks are another user, and one that is an ordinary user
# like its hooks. Debian's base system has these two accounts.
SETTINGS = {"switched": (None, "daemon"), "ordinary": ("nobody", None)}
if os.geteuid() != 0:
    SETTINGS = {"ordinary": (None, None)}

_rows: list[tuple[str, ...]] = []


@pytest.fixture(params=SETTINGS)
def arena(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Arena]:
    """Return a runner to let hooks loose in."""
    account, hook_user = SETTINGS[request.param]
    if account is not None:
        os.chown(scratch, 0, 0)
    with Runner(scratch, account, hook_user) as runner:
        yield Arena(runner)


@pytest.fixture
def fought(request: pytest.FixtureRequest, arena: Arena) -> Iterator[list[Fight]]:
    """Return where a test leaves its fights for the table."""
    fights: list[Fight] = []
    yield fights
    for fight in fights:
        receipt = fight.receipt
        _rows.append(
            (
                request.node.name,
                receipt.result.value,
                f"{fight.seconds:.2f}",
                str(receipt.leftovers),
                str(receipt.survivors),
                f"{1000 * fight.delay:.0f} ms",
                f"{1000 * fight.load:.0f} ms",
            )
        )
        assert fight.fair, f"a neighbour was delayed by {fight.delay:.3f} s"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each hook did."""
    if _rows:
        head = (
            "hook",
            "result",
            "seconds",
            "leftovers",
            "survivors",
            "neighbour's delay",
            "without hookd",
        )
        widths = [max(len(row[n]) for row in [head, *_rows]) for n in range(len(head))]
        terminalreporter.section("harmful hooks")
        for row in [head, *_rows]:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            terminalreporter.write_line("  ".join(cells).rstrip())
