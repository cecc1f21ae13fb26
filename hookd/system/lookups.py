# SPDX-License-Identifier: LGPL-2.1-or-later
"""Look-ups of paths and names, made outside the loop because they may never be answered.

A file system that does not answer (a dead NFS or FUSE mount) or a name service (LDAP behind
nsswitch.conf(5)) blocks its caller without a bound. Each look-up is therefore made in a thread,
one at a time for each key: one that hangs delays only look-ups with the same key. The threads are
daemon threads: the process can end while one of them hangs. This file does not know what is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

from hookd.system import faults

T = TypeVar("T")

IDLE = 2  # idle threads that are kept for the next look-up


class Unanswered(Exception):
    """A look-up was not answered in time; the text says which, and how long it has taken."""


class Asked(Generic[T]):
    """A pending answer; `told` is called with it once, in the loop, unless `forget` was called."""

    __slots__ = ("_told",)

    def __init__(self, told: Callable[[T | Exception], None]) -> None:
        self._told: Callable[[T | Exception], None] | None = told

    def forget(self) -> None:
        """Stop waiting. The look-up itself cannot be cancelled."""
        self._told = None

    def tell(self, answer: T | Exception) -> None:
        """Pass on the answer; if that raises, pass on the error as the answer."""
        told, self._told = self._told, None
        if told is not None:
            faults.guarded("a look-up", partial(told, answer), told)


class _Look:
    """One look-up in a thread, for all callers that asked before it began."""

    __slots__ = ("answer", "begun", "key", "waiting", "work")

    def __init__(self, key: Hashable, work: Callable[[], object]) -> None:
        self.key = key
        self.work = work
        self.begun = False
        self.answer: object = None
        self.waiting: list[Asked[object]] = []


class Lookups:
    """Makes look-ups in threads; belongs to one asyncio loop.

    A look-up answers the callers that asked before it began. Later callers wait for the next one,
    which begins when this one has ended. Each answer is therefore newer than its question, and
    under load many callers share one look-up.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Look | None] = SimpleQueue()
        self._looks: dict[Hashable, _Look] = {}
        self._next: dict[Hashable, _Look] = {}
        self._answered: deque[_Look] = deque()  # of which the callers must be told
        self._answers = faults.Timer(self._answer_all)
        self._threads = 0
        self._busy = 0

    def ask(
        self, key: Hashable, work: Callable[[], T], told: Callable[[T | Exception], None]
    ) -> Asked[T]:
        """Call `work` in a thread; `told` is called with its value or its Exception.

        All callers that use the same key must ask the same question.
        """
        asked: Asked[T] = Asked(told)
        look = self._looks.get(key)
        if look is None:
            look = self._looks[key] = _Look(key, work)
            self._begin(look)
        elif look.begun:
            look = self._next.setdefault(key, _Look(key, work))
        look.waiting.append(cast(Asked[object], asked))
        return asked

    async def answer(
        self, key: Hashable, work: Callable[[], T], seconds: float, what: Callable[[], str]
    ) -> T:
        """Return what `work` returns.

        Raises what `work` raises, or Unanswered, which names `what`, after `seconds` seconds.
        """
        future: asyncio.Future[T] = self._loop.create_future()

        def told(answer: T | Exception) -> None:
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        asked = self.ask(key, work, told)
        try:
            await asyncio.wait([future], timeout=seconds)
        finally:
            asked.forget()
        if future.done():
            return future.result()
        raise Unanswered(f"{what()}: no answer within {seconds:g} s")

    def close(self) -> None:
        """End the idle threads; a thread that hangs ends with the process."""
        for _ in range(self._threads):
            self._queue.put(None)
        self._looks.clear()
        self._next.clear()

    def _begin(self, look: _Look) -> None:
        self._busy += 1
        if self._busy > self._threads:
            try:
                threading.Thread(target=self._work, name="lookup", daemon=True).start()
            except RuntimeError as e:  # the limit of threads is reached, see setrlimit(2)
                look.answer = OSError(errno.EAGAIN, str(e))
                self._answered.append(look)
                self._answers.soon()
                return
            self._threads += 1
        self._queue.put(look)

    def _work(self) -> None:
        """Make one look-up after the other; runs in a thread."""
        while (look := self._queue.get()) is not None:
            look.begun = True
            try:
                look.answer = look.work()
            except Exception as e:  # of any kind: it is the answer, and the thread goes on
                look.answer = e
            self._answered.append(look)
            with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits
                self._loop.call_soon_threadsafe(self._answers.soon)

    def _answer_all(self) -> None:
        while self._answered:
            look = self._answered.popleft()
            try:
                self._done(look)
            finally:  # the timer reports an error, and goes on with the next look-up
                for asked in look.waiting:
                    asked.tell(look.answer)

    def _done(self, look: _Look) -> None:
        self._busy -= 1
        if self._looks.get(look.key) is look:
            del self._looks[look.key]
            if (after := self._next.pop(look.key, None)) is not None:
                self._looks[look.key] = after
                self._begin(after)
        if self._threads - self._busy > IDLE:
            self._threads -= 1
            self._queue.put(None)
