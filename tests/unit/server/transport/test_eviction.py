# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who has to go: for one more connection, and when all hold too much."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from hookd.server.transport.eviction import MAX_CONNECTIONS, MAX_HELD, SPARE_DESCRIPTORS, Evictor

USERS_MOST = MAX_CONNECTIONS * 3 // 4


@dataclass(eq=False)
class Visitor:
    """A connection that remembers why it was cut."""

    uid: int
    held: int = 0
    why: list[str] = field(default_factory=list)

    def cut(self, reason: str) -> None:
        """Remember it."""
        self.why.append(reason)


@pytest.fixture
def room() -> Evictor:
    """Return an empty room."""
    return Evictor()


def come(room: Evictor, uid: int, count: int, resting: bool = False) -> list[Visitor]:
    """Let connections in, as long as there is room."""
    visitors = [Visitor(uid) for _ in range(count)]
    for visitor in visitors:
        assert room.refusal(uid) is None
        room.enter(visitor)
        if resting:
            room.rest(visitor)
    return visitors


def test_a_user_at_its_limit_and_one_past_it(room: Evictor) -> None:
    busy = come(room, 7, USERS_MOST)
    assert room.refusal(7) == f"the user has {USERS_MOST} connections open"
    assert room.refusal(8) is None
    room.leave(busy.pop())
    assert room.refusal(7) is None
    assert not any(visitor.why for visitor in busy)


def test_what_has_rested_longest_makes_room(room: Evictor) -> None:
    come(room, 7, USERS_MOST - 4)
    gone, older, old, new = come(room, 7, 4, resting=True)
    room.leave(gone)
    room.enter(gone)
    for visitor in (older, new):
        room.work(visitor)
        room.rest(visitor)
    for expected in (old, older, new):
        assert room.refusal(7) is None
        assert expected.why == [f"the user has {USERS_MOST} connections open"]
    assert room.refusal(7) is not None
    assert not gone.why


def test_all_places_taken_and_one_past_it(room: Evictor) -> None:
    come(room, 7, USERS_MOST)
    others = come(room, 8, MAX_CONNECTIONS - USERS_MOST)
    assert room.refusal(9) == f"{MAX_CONNECTIONS} connections are open"
    room.leave(others[0])
    assert room.refusal(9) is None


def test_who_has_more_gives_way_and_never_who_has_less(room: Evictor) -> None:
    many = come(room, 7, USERS_MOST, resting=True)
    few = come(room, 8, MAX_CONNECTIONS - USERS_MOST, resting=True)
    assert room.refusal(9) is None
    assert sum(map(bool, (v.why for v in many))) == 1
    for visitor in many:
        room.work(visitor)
    assert room.refusal(7) == f"the user has {USERS_MOST} connections open"
    assert not any(visitor.why for visitor in few)
    assert room.refusal(9) is None
    assert [why for v in few for why in v.why] == [f"{MAX_CONNECTIONS} connections are open"]


def test_who_has_as_many_does_not_give_way(room: Evictor) -> None:
    come(room, 7, MAX_CONNECTIONS // 2)
    others = come(room, 8, MAX_CONNECTIONS // 2, resting=True)
    assert room.refusal(7) == f"{MAX_CONNECTIONS} connections are open"
    assert not any(visitor.why for visitor in others)


def test_for_no_user_anybody_gives_way_who_rests(room: Evictor) -> None:
    (visitor,) = come(room, 7, 1, resting=True)
    assert room.make(None, "reason")
    assert visitor.why == ["reason"]
    assert not room.make(None, "reason")


def test_few_descriptors_are_few_connections() -> None:
    for descriptors, most in (
        (MAX_CONNECTIONS + SPARE_DESCRIPTORS, MAX_CONNECTIONS),
        (10**6, MAX_CONNECTIONS),
        (SPARE_DESCRIPTORS + 300, 300),
        (100, 50),
    ):
        room = Evictor()
        room.fit(descriptors)
        for uid in range(most):
            assert room.refusal(uid) is None
            room.enter(Visitor(uid))
        assert room.refusal(most) == f"{most} connections are open"


def test_what_all_hold_together_at_its_limit_and_past_it(room: Evictor) -> None:
    small, large, larger = Visitor(1, 1000), Visitor(2, MAX_HELD // 2), Visitor(3, MAX_HELD // 2)
    larger.held -= 1000
    for visitor in (small, large, larger):
        room.enter(visitor)
        room.took(visitor.held)
    assert not any(visitor.why for visitor in (small, large, larger))
    small.held += 1
    room.took(1)
    assert [bool(visitor.why) for visitor in (small, large, larger)] == [False, True, False]


def test_one_that_holds_too_much_alone_is_cut(room: Evictor) -> None:
    visitor = Visitor(1, MAX_HELD + 1)
    room.enter(visitor)
    room.took(visitor.held)
    assert visitor.why == [
        f"all connections hold over {MAX_HELD * 3 // 4} bytes, and it has the most"
    ]


def test_who_holds_most_goes_until_a_quarter_is_free(room: Evictor) -> None:
    visitors = [Visitor(uid, MAX_HELD // 5) for uid in range(5)] + [Visitor(5, MAX_HELD // 10)]
    for visitor in visitors:
        room.enter(visitor)
        room.took(visitor.held)
    assert [bool(visitor.why) for visitor in visitors].count(True) == 2


def test_what_has_gone_again_is_not_held(room: Evictor) -> None:
    visitor = Visitor(1)
    room.enter(visitor)
    for _ in range(100):
        room.took(MAX_HELD)
    assert not visitor.why
