# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits on a whole process tree where no control group keeps them: the runner looks."""

from __future__ import annotations

import pytest

from hookd.model import Result
from tests.support.runner import PYTHON, Runner

FILLS = "hold = bytearray(200 << 20)"
WAITS = "import time; time.sleep(100)"


@pytest.fixture(scope="module")
def runner(shared_runner: Runner) -> Runner:
    """Return the one runner of this file: each test has it read its hook anew."""
    return shared_runner


@pytest.mark.parametrize(
    ("script", "setting", "limit"),
    [
        ("for n in 1 2 3 4 5; do sleep 100 & done; wait\n", "processes = 3", "processes"),
        (f'{PYTHON} -c "{FILLS}; {WAITS}" & wait\n', 'memory = "100M"', "memory"),
    ],
)
def test_a_tree_beyond_its_limit_is_ended(
    runner: Runner, script: str, setting: str, limit: str
) -> None:
    program = runner.script("program", script)
    runner.hook("hook", f'command = "{program}"\n[limits]\n{setting}\n')
    assert runner.reload().errors == []
    receipt = runner.run("hook")
    assert (receipt.result, receipt.limit) == (Result.LIMIT, limit)
    assert receipt.survivors == 0
