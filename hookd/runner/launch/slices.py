# SPDX-License-Identifier: LGPL-2.1-or-later
"""Divides long passes over processes into short slices, so that no run waits for another's pass.

A caller that must go through a thousand processes hands them over as an iterator. Each turn of the
event loop does one slice, for whichever run; everything else that is ready runs between two
slices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TypeVar

SLICE_SEC = 0.002

_T = TypeVar("_T")


class Slices:
    """The turns of the loop that all runs share."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # first come, first served

    async def gather(self, steps: Iterable[_T]) -> list[_T]:
        """Exhaust an iterator in slices; return its values without those that are false.

        Raises what the iterator raises.
        """
        found: list[_T] = []
        iterator = iter(steps)
        while True:
            async with self._turn:
                if self._slice(iterator, found):
                    return found
                await asyncio.sleep(0)  # the loop runs before the next slice begins

    def _slice(self, iterator: Iterator[_T], found: list[_T]) -> bool:
        """Do one slice; return True at the end of the iterator."""
        enough = monotonic() + SLICE_SEC
        for value in iterator:
            if value:
                found.append(value)
            if monotonic() > enough:
                return False
        return True
