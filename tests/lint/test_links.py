# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the documents point at is there: links, files, folders, targets of make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lint.tree import FOLDERS, TREE, files, name

PAGES = [path for path in files() if path.suffix == ".md"]


def _anchors(page: Path) -> set[str]:
    """Return a page's headings as links name them: lower case, hyphens for spaces."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    known = "|".join(re.escape(folder) for folder in FOLDERS)
    named = re.findall(rf"`((?:{known})/[\w./*-]+)`", page.read_text())
    assert [path for path in named if not list(TREE.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (TREE / "Makefile").read_text()))
    named = re.findall(r"`make ([a-z-]+)|(?m:^    make ([a-z-]+))", page.read_text())
    assert {one or other for one, other in named} - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    tests = [path.read_text() for path in files() if path.name.startswith("test_")]
    written = "\n".join(tests)
    named = set(re.findall(r"`(test_\w+)`", page.read_text()))
    assert {test for test in named if f"def {test}(" not in written} == set()
