# SPDX-License-Identifier: LGPL-2.1-or-later
"""Detects a hang-up on a connection that is not being read, which asyncio does not do."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

from hookd.system import faults


class Hangups:
    """Watched descriptors, each with a callback that is called once.

    An empty event mask still reports EPOLLHUP (epoll_ctl(2)), when both directions are closed.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._hung_up)

    def watch(self, fd: int, tell: Callable[[], None]) -> None:
        """Call `tell` when the peer hangs up; no change if the descriptor is already watched."""
        if fd not in self._watched:
            self._watched[fd] = tell
            self._epoll.register(fd, 0)

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor: it is being read again, or is closed."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Stop watching all descriptors."""
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _hung_up(self) -> None:
        for fd, _ in self._epoll.poll(0):
            tell = self._watched[fd]
            self.unwatch(fd)
            faults.guarded("a hang-up", tell)
