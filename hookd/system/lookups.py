# SPDX-License-Identifier: LGPL-2.1-or-later
"""Questions that may never be answered, asked outside the loop: paths and names.

A file system that does not answer (a dead NFS or FUSE mount) or a name service (LDAP behind
nsswitch.conf(5)) holds up whoever asks it, without a bound. So each question is asked in a thread,
one at a time for each key: what hangs holds up that key and no other. The threads are daemons: the
process can end while one of them hangs. What is asked is for others to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable, Hashable
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

T = TypeVar("T")

IDLE = 2  # threads without a question that are kept for the next one


class Unanswered(Exception):
    """A question was not answered in time; the text says which, and for how long it was asked."""


class Asked(Generic[T]):
    """One who waits for an answer; `told` hears it in the loop, once, if it was not forgotten."""

    __slots__ = ("_told",)

    def __init__(self, told: Callable[[T | Exception], None]) -> None:
        self._told: Callable[[T | Exception], None] | None = told

    def forget(self) -> None:
        """Wait no longer. The question itself cannot be taken back."""
        self._told = None

    def tell(self, answer: T | Exception) -> None:
        """Pass the answer on."""
        told, self._told = self._told, None
        if told is not None:
            told(answer)


class _Look:
    """One question on its way through a thread, for all who asked before it began."""

    __slots__ = ("answer", "begun", "key", "waiting", "work")

    def __init__(self, key: Hashable, work: Callable[[], object]) -> None:
        self.key = key
        self.work = work
        self.begun = False
        self.answer: object = None
        self.waiting: list[Asked[object]] = []


class Lookups:
    """Asks questions in threads; belongs to one asyncio loop.

    A look answers those who asked before it began: who comes later waits for the next one, which
    begins when this one has ended. So each answer is newer than its question, and under load many
    share one look.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Look | None] = SimpleQueue()
        self._looks: dict[Hashable, _Look] = {}
        self._next: dict[Hashable, _Look] = {}
        self._threads = 0
        self._busy = 0

    def ask(
        self, key: Hashable, work: Callable[[], T], told: Callable[[T | Exception], None]
    ) -> Asked[T]:
        """Have `work` done in a thread; `told` is given what it returns, or its Exception.

        All who ask with the same key must ask the same thing.
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

        Raises what it raises, or Unanswered after so many seconds, which names `what` was asked.
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
        """Let the threads end that have no question; one that hangs ends with the process."""
        for _ in range(self._threads):
            self._queue.put(None)
        self._looks.clear()
        self._next.clear()

    def _begin(self, look: _Look) -> None:
        self._busy += 1
        if self._busy > self._threads:
            try:
                threading.Thread(target=self._work, name="lookup", daemon=True).start()
            except RuntimeError as e:  # as many as there may be, see setrlimit(2)
                look.answer = OSError(errno.EAGAIN, str(e))
                self._loop.call_soon(self._done, look)
                return
            self._threads += 1
        self._queue.put(look)

    def _work(self) -> None:
        """Answer one question after the other; in a thread."""
        while (look := self._queue.get()) is not None:
            look.begun = True
            try:
                look.answer = look.work()
            except Exception as e:  # whatever it is, it is the answer, and the next one waits
                look.answer = e
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._done, look)

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
        for asked in look.waiting:
            try:
                asked.tell(look.answer)
            except Exception as e:  # one who waits must not keep the answer from the others
                self._loop.call_exception_handler({"message": "a look-up", "exception": e})
