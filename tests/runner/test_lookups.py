# SPDX-License-Identifier: LGPL-2.1-or-later
"""Questions asked in threads, one at a time for each key: what hangs holds up its own alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hookd.system.lookups import IDLE, Lookups, Unanswered


def with_lookups(test: Callable[[Lookups], Awaitable[None]]) -> None:
    async def run() -> None:
        lookups = Lookups()
        try:
            await asyncio.wait_for(test(lookups), 20)
        finally:
            lookups.close()

    asyncio.run(run())


async def ask(lookups: Lookups, key: str, work: Callable[[], int], seconds: float = 20) -> int:
    return await lookups.answer(key, work, seconds, lambda: key)


def test_an_answer_or_the_error_comes_back() -> None:
    def fails() -> int:
        raise KeyError("none")

    async def test(lookups: Lookups) -> None:
        assert await ask(lookups, "one", lambda: 1) == 1
        with pytest.raises(KeyError, match="none"):
            await ask(lookups, "one", fails)
        assert await ask(lookups, "one", lambda: 2) == 2

    with_lookups(test)


def test_what_hangs_holds_up_its_own_key_alone() -> None:
    go_on = threading.Event()

    async def test(lookups: Lookups) -> None:
        with pytest.raises(Unanswered, match=r"^stuck: no answer within 0\.01 s$"):
            await ask(lookups, "stuck", go_on.wait, 0.01)
        with pytest.raises(Unanswered):
            await ask(lookups, "stuck", lambda: 3, 0.01)
        assert await ask(lookups, "well", lambda: 2) == 2
        assert len(looking()) <= 2
        go_on.set()
        assert await ask(lookups, "stuck", lambda: 3) == 3

    with_lookups(test)


def test_who_asks_while_a_look_is_under_way_gets_the_next_one() -> None:
    begun, go_on = threading.Event(), threading.Event()
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        begun.set()
        go_on.wait()
        return looks

    async def test(lookups: Lookups) -> None:
        first = asyncio.ensure_future(ask(lookups, "one", look))
        while not begun.is_set():
            await asyncio.sleep(0)
        later = [asyncio.ensure_future(ask(lookups, "one", look)) for _ in range(100)]
        await asyncio.sleep(0)
        go_on.set()
        assert await first == 1
        assert set(await asyncio.gather(*later)) == {2}  # all of them share it

    with_lookups(test)


def looking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lookup"]


def test_many_at_once_leave_few_threads() -> None:
    async def test(lookups: Lookups) -> None:
        numbers = await asyncio.gather(
            *(ask(lookups, str(n), lambda n=n: n) for n in range(50))  # type: ignore[misc]
        )
        assert list(numbers) == list(range(50))
        while len(looking()) > IDLE:
            await asyncio.sleep(0.001)

    with_lookups(test)


def test_one_who_raises_keeps_the_answer_from_nobody() -> None:
    async def test(lookups: Lookups) -> None:
        told: list[object] = []
        said: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: said.append(what))

        def broken(_answer: object) -> None:
            raise RuntimeError("broken")

        lookups.ask("one", lambda: 1, broken)
        lookups.ask("one", lambda: 1, told.append)
        while not told:
            await asyncio.sleep(0.001)
        assert told == [1]
        assert len(said) == 2  # it also raised when it was told its error

    with_lookups(test)


def test_a_caller_that_raises_is_told_the_error() -> None:
    async def test(lookups: Lookups) -> None:
        answers: list[int | Exception] = []
        told = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda _, what: None)

        def tell(answer: int | Exception) -> None:
            answers.append(answer)
            if len(answers) == 1:
                raise RuntimeError("broken")
            told.set()

        lookups.ask("one", lambda: 1, tell)
        await told.wait()
        assert repr(answers) == "[1, RuntimeError('broken')]"
        assert await ask(lookups, "one", lambda: 2) == 2

    with_lookups(test)


def test_an_error_between_two_lookups_stops_neither() -> None:
    async def test(lookups: Lookups) -> None:
        done, errors = lookups._done, []

        def breaks(look: Any) -> None:
            done(look)
            raise RuntimeError("broken")

        lookups._done = breaks  # type: ignore[method-assign]
        asyncio.get_running_loop().set_exception_handler(lambda _, what: errors.append(what))
        assert [await ask(lookups, key, lambda: 1) for key in ("one", "one", "two")] == [1, 1, 1]
        assert len(errors) >= 2

    with_lookups(test)
