# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page on the architecture names each folder of hookd once, and its made parts are current."""

from __future__ import annotations

import re
import runpy

from hookd.server.runs.run import TRANSITIONS, RunPhase
from tests.lint.tree import TREE, files, name

PAGE = (TREE / "docs/ARCHITECTURE.md").read_text()


def _part(name: str) -> str:
    (part,) = re.findall(rf"(?s)<!-- made: {name} -->\n(.*?)<!-- made: end -->", PAGE)
    return str(part)


def _section(heading: str) -> str:
    (section,) = re.findall(rf"(?ms)^## {heading}$(.*?)(?=^## )", PAGE)
    return str(section)


def test_each_folder_has_one_row() -> None:
    packages = {f"{name(path.parent)}/" for path in files() if path.name == "__init__.py"}
    rows = re.findall(r"(?m)^\| `(hookd/[\w/]*)` \|", _part("folders"))
    assert sorted(rows) == sorted(path for path in packages if path.startswith("hookd/"))


def test_every_folder_is_named() -> None:
    folders = {f"{name(path.parent)}/" for path in files() if name(path).startswith("hookd/")}
    assert folders - set(re.findall(r"`(hookd/(?:[\w/]*/)?)`", _section("The folders"))) == set()


def test_every_folder_says_what_it_is_for() -> None:
    empty = [row for row in _part("folders").splitlines() if re.match(r"\| `\S+` \|  ", row)]
    assert empty == []


def test_the_picture_has_every_change_of_phase() -> None:
    drawn = set(re.findall(r"(?m)^    (\w+) --> (\w+)$", _part("run-phases")))
    assert drawn == {(old, new) for old, following in TRANSITIONS.items() for new in following}
    meanings = set(re.findall(r"(?m)^\| (\w+) \| [^|]{8,} \|$", _part("run-phases")))
    assert meanings == {phase.value for phase in RunPhase}


def test_what_is_made_is_current() -> None:
    pages = runpy.run_path(str(TREE / "packaging/pages.py"))
    assert pages["written"](PAGE) == PAGE, "run make pages"


def test_the_way_of_an_event_names_files_that_exist() -> None:
    rows = re.findall(r"(?m)^\| .* \| (`.*`) \|$", _section("The way of an event"))
    named = [path for row in rows for path in re.findall(r"`([^`]+)`", row)]
    assert len(named) > 15
    there = {path for path in named if (TREE / "hookd" / path).is_dir()}
    there |= {path for path in named if (TREE / "hookd" / f"{path}.py").is_file()}
    assert set(named) - there == set()
