# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page on the architecture names each file of hookd once, and none that is not there."""

from __future__ import annotations

import re
from collections import Counter

from tests.lint.tree import TREE, files, name

PAGE = (TREE / "docs/ARCHITECTURE.md").read_text()


def test_each_file_is_named_once() -> None:
    named = Counter(re.findall(r"`(hookd/[\w./]+\.\w+)`", PAGE))
    there = {name(path) for path in files() if name(path).startswith("hookd/")}
    assert there - named.keys() == set(), "in no list of docs/ARCHITECTURE.md"
    assert named.keys() - there == set(), "named there, and gone"
    assert [path for path, times in named.items() if times > 1] == []
