# SPDX-License-Identifier: LGPL-2.1-or-later
"""The glossary of CONTRIBUTING.md has every word that a client can see as a state or a result."""

from __future__ import annotations

import re
from enum import StrEnum

import pytest

from hookd.model import JobState, Outcome, Phase, Result, RunState
from tests.lint.tree import TREE

SECTION = re.findall(r"(?ms)^## Glossary$(.*?)^## ", (TREE / "CONTRIBUTING.md").read_text())[0]


@pytest.mark.parametrize(
    ("term", "values"),
    [
        ("job", JobState), ("phase", Phase), ("outcome", Outcome), ("run", RunState),
        ("result", Result),
    ],
)  # fmt: skip
def test_a_term_names_its_values(term: str, values: type[StrEnum]) -> None:
    (line,) = re.findall(rf"(?m)^\| {term} \|.*$", SECTION)
    assert {value.value for value in values} - set(re.findall(r"[\w-]+", line)) == set()


def test_a_term_is_explained_once() -> None:
    terms = re.findall(r"(?m)^\| (\w[\w ,]*?) \|", SECTION)
    words = [word for term in terms for word in term.split(", ")]
    assert len(words) == len(set(words)) > 25
