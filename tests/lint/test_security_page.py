# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page on security names a test for each promise, and each is there."""

from __future__ import annotations

import re
from pathlib import Path

TREE = Path(__file__).parents[2]


def test_every_promise_has_a_test() -> None:
    page = (TREE / "docs" / "SECURITY.md").read_text()
    written = "".join(path.read_text() for path in (TREE / "tests").rglob("test_*.py"))
    promises = re.findall(r"(?ms)^- (.*?)(?=^- |^#|^$|\Z)", page)
    assert len(promises) > 20
    for promise in promises:
        named = re.findall(r"`(test_\w+)`", promise)
        files = re.findall(r"`(tests/\S+\.py)`", promise)
        assert named or files, f"no test is named: {promise}"
        assert [name for name in named if f"def {name}(" not in written] == []
        assert [file for file in files if not (TREE / file).exists()] == []
