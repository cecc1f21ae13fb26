# SPDX-License-Identifier: LGPL-2.1-or-later
"""The walks of CONTRIBUTING.md lead through every file that their example stands in."""

from __future__ import annotations

import re

import pytest

from tests.lint.tree import TREE, files, name

WALKS = re.findall(
    r"(?ms)^### .*?, as `(\w+)` is one$(.*?)(?=^##|\Z)", (TREE / "CONTRIBUTING.md").read_text()
)


def test_there_are_walks() -> None:
    assert [word for word, _ in WALKS] == ["file_size", "Resume", "working_directory"]


@pytest.mark.parametrize(("word", "walk"), WALKS, ids=[word for word, _ in WALKS])
def test_a_walk_names_every_file(word: str, walk: str) -> None:
    code = [path for path in files() if name(path).startswith("hookd/")]
    found = {name(path) for path in code if re.search(rf"\b{word}\b", path.read_text())}
    named = set(re.findall(r"`(hookd/[\w./]+)`", walk))
    assert found - named == set()


@pytest.mark.parametrize("walk", [walk for _, walk in WALKS], ids=[word for word, _ in WALKS])
def test_what_a_step_names_stands_in_its_files(walk: str) -> None:
    unknown = []
    for step in re.split(r"(?m)^\d+\. ", walk):
        named = re.findall(r"`(hookd/[\w./]+)`", step)
        text = "".join((TREE / file).read_text() for file in named)
        words = re.findall(r"`([A-Za-z_][\w.]*)`", step) if named else []
        unknown += [word for word in words if word.rpartition(".")[2] not in text]
    assert unknown == []


def test_every_tier_and_folder_of_tests_is_named() -> None:
    page = (TREE / "CONTRIBUTING.md").read_text()
    folders = {name(path).split("/")[1] for path in files() if name(path).startswith("tests/")}
    assert {f"tests/{f}" for f in folders if "." not in f and f != "run"} <= set(
        re.findall(r"`(tests/\w+)`", page)
    )
    markers = re.findall(r'(?m)^    "(\w+): ', (TREE / "pyproject.toml").read_text())
    assert set(markers) <= set(re.findall(r"(?m)^\| `(\w+)` \|", page))
