# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whose turn it is: so many in a round of the loop, one user after the other."""

from __future__ import annotations

import asyncio

from hookd.server.transport.fair_queue import AT_ONCE, FairQueue


def order(asked: list[int]) -> list[list[int]]:
    """Return, for each round of the loop, the users that had a turn of those that ask at once."""
    rounds: list[list[int]] = [[]]

    async def ask(fair_queue: FairQueue, uid: int) -> None:
        await fair_queue.take(uid)
        rounds[-1].append(uid)

    async def main() -> None:
        fair_queue = FairQueue()
        tasks = [asyncio.ensure_future(ask(fair_queue, uid)) for uid in asked]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            rounds.append([])

    asyncio.run(main())
    return [found for found in rounds if found]


def test_as_many_as_fit_have_their_turn_at_once_and_one_more_waits() -> None:
    assert order([1] * AT_ONCE) == [[1] * AT_ONCE]
    assert order([1] * (AT_ONCE + 1)) == [[1] * AT_ONCE, [1]]
    assert [len(found) for found in order([1] * (3 * AT_ONCE))] == [AT_ONCE] * 3


def test_one_who_asks_once_does_not_wait_for_one_who_asks_often() -> None:
    rounds = order([1] * (10 * AT_ONCE) + [2, 3])
    assert {2, 3} <= set(rounds[1])


def test_who_is_gone_takes_nobodys_turn() -> None:
    async def main() -> None:
        fair_queue = FairQueue()
        first = [asyncio.ensure_future(fair_queue.take(1)) for _ in range(AT_ONCE)]
        gone = [asyncio.ensure_future(fair_queue.take(1)) for _ in range(AT_ONCE)]
        last = asyncio.ensure_future(fair_queue.take(1))
        await asyncio.gather(*first)
        for waiting in gone:
            waiting.cancel()
        await asyncio.wait_for(last, 5)
        await asyncio.gather(*gone, return_exceptions=True)
        await fair_queue.take(2)

    asyncio.run(main())
