# SPDX-License-Identifier: LGPL-2.1-or-later
"""The invariants of the targets beside this file: for what is known, and for what atheris finds.

An input that breaks one is kept, once that is mended, in the target's corpus as `found-…`.
"""

from __future__ import annotations

import importlib

import pytest

from tests.fuzz.conftest import AT_A_TIME, CORPUS, MISSING, SECONDS, TARGETS, Campaign

INPUTS = [
    (target, path.name) for target in TARGETS for path in sorted((CORPUS / target).iterdir())
]


@pytest.mark.parametrize(("target", "name"), INPUTS)
def test_what_is_in_the_corpus_breaks_nothing(target: str, name: str) -> None:
    importlib.import_module(f"tests.fuzz.{target}").check((CORPUS / target / name).read_bytes())


@pytest.mark.fuzz
@pytest.mark.timeout(len(TARGETS) // AT_A_TIME * (SECONDS + 30) + 120)
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_is_tried_breaks_it(target: str, campaigns: dict[str, Campaign]) -> None:
    ended = campaigns[target]
    if MISSING in ended.said:
        pytest.fail("no atheris: pip install atheris (wheels: x86_64, Python 3.11 to 3.14)")
    assert ended.broken_by is None, f"{ended.broken_by!r} breaks it:\n{ended.said[-4000:]}"
