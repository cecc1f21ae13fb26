# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs hookd or hookd-runner unchanged, except that any one of its callbacks can raise, once.

    injection.py CONTROL server|runner PROGRAM ARGUMENT...

`tests/support/callbacks.py` finds the callbacks. CONTROL is a file that the test and this process
map: the test writes the name of a point into it; the next callback that was registered at that
point clears the name and raises. CONTROL.reached lists the points whose callbacks were called.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import mmap
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.callbacks import TAKES, TREE, Point, points

SIZE = 256


def control(path: Path) -> mmap.mmap:
    """Return the mapped control file; create it if it is missing."""
    with path.open("a+b") as file:
        file.truncate(SIZE)
        return mmap.mmap(file.fileno(), SIZE)


def arm(mapped: mmap.mmap, name: str) -> None:
    """Make the next callback of this point raise; no name is none."""
    mapped[:SIZE] = name.encode().ljust(SIZE, b"\0")


def armed(mapped: mmap.mmap) -> bool:
    """Return whether the point has not raised yet."""
    return mapped[0] != 0


class Injected(RuntimeError):
    """The error that is injected."""


class Points:
    """The points of this process."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._points = [point for point in points() if point.first]
        self._passed: set[bytes] = set()

    def reached(self, name: bytes) -> None:
        """Note that the point is reached; raise if it is the one that is armed."""
        if name not in self._passed:
            self._passed.add(name)
            with Path(f"{sys.argv[0]}.reached").open("ab") as file:
                file.write(name + b"\n")
        if self._mapped[0] and self._mapped[: len(name) + 1] == name + b"\0":
            self._mapped[0] = 0
            raise Injected(name.decode())

    def around(self, callback: Any, name: str) -> Any:
        """Return the callback, wrapped so that it raises when its point is armed."""
        mark = name.encode()[: SIZE - 1]

        async def coroutine() -> Any:
            try:
                self.reached(mark)
            except Injected:
                callback.close()
                raise
            return await callback

        @functools.wraps(callback)
        def called(*args: Any, **kwargs: Any) -> Any:
            self.reached(mark)
            return callback(*args, **kwargs)

        return coroutine() if inspect.iscoroutine(callback) else called

    def _at(self, frame: Any, called: str) -> str | None:
        file = frame.f_code.co_filename.rpartition(f"{TREE}/")[2]
        for point in self._points:
            lines = point.first <= frame.f_lineno <= point.last
            if point.file == file and lines and point.called == called:
                return point.name
        return None

    def set(self, owner: Any, called: str) -> None:
        """Wrap the callbacks that hookd passes to this function or method."""
        takes = getattr(owner, called)
        at = TAKES[called] + (not inspect.ismodule(owner))
        look = self._at

        @functools.wraps(takes, updated=())
        def watched(*args: Any, **kwargs: Any) -> Any:
            name = look(sys._getframe(1), called)
            if name is not None and len(args) > at:
                args = (*args[:at], self.around(args[at], name), *args[at + 1 :])
            return takes(*args, **kwargs)

        setattr(owner, called, watched)

    def set_in_class(self, point: Point) -> None:
        """Wrap a method that a transport calls, or a callback that a constructor takes."""
        module = importlib.import_module(point.file.removesuffix(".py").replace("/", "."))
        words = point.name.rpartition(": ")[2]
        if words.endswith(")"):
            name, given = words[:-1].split("(")
            owner = getattr(module, name)
            init = owner.__init__
            signature = inspect.signature(init)

            @functools.wraps(init)
            def watched(*args: Any, **kwargs: Any) -> None:
                bound = signature.bind(*args, **kwargs)
                if bound.arguments.get(given) is not None:
                    bound.arguments[given] = self.around(bound.arguments[given], point.name)
                init(*bound.args, **bound.kwargs)

            owner.__init__ = watched
        else:
            name, method = words.split(".")
            owner = getattr(module, name)
            setattr(owner, method, self.around(getattr(owner, method), point.name))


def install(mapped: mmap.mmap, program: str) -> None:
    """Wrap the callbacks of all points of this process."""
    here = Points(mapped)
    faults = importlib.import_module("hookd.system.faults")
    init = faults.Timer.__init__

    def timer(self: Any, act: Callable[[], object]) -> None:
        name = here._at(sys._getframe(1), "Timer")
        init(self, here.around(act, name) if name is not None else act)

    faults.Timer.__init__ = timer
    for called in ("keep", "guarded"):
        here.set(faults, called)
    loop = asyncio.SelectorEventLoop
    for called in (
        "call_soon", "call_later", "call_at", "call_soon_threadsafe", "add_reader", "add_writer",
        "add_signal_handler", "create_task",
    ):  # fmt: skip
        here.set(loop, called)
    here.set(importlib.import_module("hookd.system.journal").Journal, "when_flushed")
    if program == "server":
        here.set(importlib.import_module("hookd.server.storage.store").Store, "submit")
        here.set(importlib.import_module("hookd.server.storage.threads").LoopCalls, "add")
    for point in points():
        folder = point.file.split("/")[1]
        if not point.first and (folder in (program, "system")):
            here.set_in_class(point)


def main() -> None:
    """Run the program."""
    program = sys.argv[2]
    mapped = control(Path(sys.argv[1]))
    sys.argv = [sys.argv[1], *sys.argv[4:]]
    install(mapped, program)
    sys.exit(importlib.import_module(f"hookd.{program}.main").main())


if __name__ == "__main__":
    main()
