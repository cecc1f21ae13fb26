# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page of the protocol names a test for each line, and each is there."""

from __future__ import annotations

import re
from pathlib import Path

TREE = Path(__file__).parents[2]


def test_every_line_of_the_page_has_a_test() -> None:
    page = (TREE / "docs" / "PROTOCOL.md").read_text().partition("## What happens when")[2]
    written = "".join(path.read_text() for path in (TREE / "tests").rglob("test_*.py"))
    lines = re.findall(r"(?ms)^- (.*?)(?=^- |^#|\Z)", page)
    assert len(lines) > 25
    for line in lines:
        named = re.findall(r"`(test_\w+)`", line)
        files = re.findall(r"`(tests/\S+\.py)`", line)
        assert named or files, f"no test is named: {line}"
        assert [name for name in named if f"def {name}(" not in written] == []
        assert [file for file in files if not (TREE / file).exists()] == []
