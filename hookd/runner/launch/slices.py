# SPDX-License-Identifier: LGPL-2.1-or-later
"""Long looks through processes in short slices, so that no run waits for another's.

Whoever has a thousand processes to go through gives them here as an iterator. One slice is done
in a turn of the loop, whoever it is for; all that is ready has its turn between two of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TypeVar

SLICE_SEC = 0.002

_T = TypeVar("_T")


class Slices:
    """The turns that all runs share."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # first come, first served

    async def gather(self, steps: Iterable[_T]) -> list[_T]:
        """Go through an iterator; return what it gives, but for what is false.

        Raises what the iterator raises.
        """
        found: list[_T] = []
        iterator = iter(steps)
        while True:
            async with self._turn:
                if self._slice(iterator, found):
                    return found
                await asyncio.sleep(0)  # before the next one has the turn

    def _slice(self, iterator: Iterator[_T], found: list[_T]) -> bool:
        """Go on for one slice; True at the iterator's end."""
        enough = monotonic() + SLICE_SEC
        for value in iterator:
            if value:
                found.append(value)
            if monotonic() > enough:
                return False
        return True
