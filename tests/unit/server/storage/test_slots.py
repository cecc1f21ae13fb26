# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who gets a slot is decided in the transaction: never more runs than there are slots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hookd.server.storage.values import Claim, Finish, HandedOver, Slots
from tests.unit.making import receipt
from tests.unit.server.storage.ledger import Ledger, now, opened


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path / "hookd.db") as ledger:
        yield ledger


def claim(db: Ledger, run_ids: Sequence[int], most: int = 100, in_all: int = 100) -> HandedOver:
    hooks = dict(db.connection.execute("SELECT run_id, hook FROM runs"))
    claims = [Claim(run_id, hooks[run_id], most) for run_id in run_ids]
    return db.runs.hand_over(claims, Slots("r", in_all))


def ids(handed_over: HandedOver) -> tuple[list[int], list[int]]:
    """Return the runs to start, and those without a slot."""
    return [start.run_id for start in handed_over.starts], handed_over.without_slot


def test_claims_get_no_more_slots_than_there_are_in_all(db: Ledger) -> None:
    db.start("a", "b", "c", "d")
    assert ids(claim(db, [1, 2, 3, 4], in_all=2)) == ([1, 2], [3, 4])
    assert (db.runs.handed.total(), db.runs.queued) == (2, 2)
    assert ids(claim(db, [3], in_all=2)) == ([], [3])
    db.runs.finish([Finish(run_id=1, receipt=receipt())], now())
    assert ids(claim(db, [4, 3], in_all=2)) == ([4], [3])


def test_claims_get_no_more_slots_than_their_hook_has(db: Ledger) -> None:
    for _ in range(3):
        db.start("a", "b")
    a, b = [1, 3, 5], [2, 4, 6]
    assert ids(claim(db, [*a, *b], most=2)) == ([1, 3, 2, 4], [5, 6])
    db.runs.take_back([3])
    assert ids(claim(db, [5, 3, 6], most=2)) == ([5], [3, 6])


def test_a_run_that_was_handed_over_before_is_in_neither_list(db: Ledger) -> None:
    db.start("a", "b")
    db.start("a")
    assert ids(claim(db, [1])) == ([1], [])
    assert ids(claim(db, [1, 3], most=1)) == ([], [3])  # full
    assert ids(claim(db, [1, 2], in_all=1)) == ([], [2])
    assert ids(claim(db, [1, 2, 3])) == ([2, 3], [])  # and with room


def test_what_was_handed_over_counts_after_the_database_was_opened_anew(db: Ledger) -> None:
    db.start("a", "b", "c")
    claim(db, [1, 2])
    db.load()
    assert ids(claim(db, [3], in_all=2)) == ([], [3])


def test_a_new_event_takes_no_slot_that_claims_have_filled(db: Ledger) -> None:
    db.start("a", "b", "c")
    claim(db, [1, 2], in_all=2)
    new = db.start("c", "d", at_once=5, slots=Slots("r", 2))
    assert new.handed == []
    db.runs.finish([Finish(run_id=1, receipt=receipt())], now())
    new = db.start("c", "e", at_once=5, slots=Slots("r", 2))
    assert [start.hook for start in new.handed] == ["e"]  # the runs of c that wait come first
