# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookd or hookd-runner as it is, but that any one of its callbacks can be made to raise, once.

    injection.py CONTROL server|runner PROGRAM ARGUMENT...

The callbacks are found by walking the code (`points`): what is given to the event loop, to
`hookd.faults`, to the store or the journal to be called back, what a constructor takes to call,
and what a transport calls. CONTROL is a file that both sides map: the name of a point stands there
until a callback that was registered at that point has raised.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib
import inspect
import mmap
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

TREE = Path(__file__).parents[2]
SIZE = 256

TAKES = {
    "call_soon": 0, "call_later": 1, "call_at": 1, "call_soon_threadsafe": 0, "add_reader": 1,
    "add_writer": 1, "add_signal_handler": 1, "create_task": 0, "add_done_callback": 0,
    "Timer": 0, "keep": 1, "guarded": 1, "submit": 1, "when_flushed": 0, "_from_thread": 1,
}  # fmt: skip
"""Who calls back, and which of its arguments that is."""

TRANSPORT = {
    "made", "lost", "buffer_updated", "eof_received", "pause_writing", "resume_writing",
}  # fmt: skip


class Point(NamedTuple):
    """A place where a callback is registered: its name, and the lines of the file."""

    name: str
    file: str
    first: int
    last: int


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield each file that a loop of either process runs in."""
    for path in sorted((TREE / "hookd").rglob("*.py")):
        name = str(path.relative_to(TREE))
        if "/cli/" not in name and name not in ("hookd/client.py", "hookd/faults.py"):
            yield name, ast.parse(path.read_text())


def points() -> list[Point]:
    """Return every point, in the order of files and lines."""
    found = []
    for file, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if called in TAKES and len(node.args) > TAKES[called]:
                    what = ast.unparse(node.args[TAKES[called]])[:60]
                    name = f"{file}: {called}: {what}"
                    found.append(Point(name, file, node.lineno, node.end_lineno or node.lineno))
            elif isinstance(node, ast.ClassDef):
                found += _of_class(file, node)
    return found


def _of_class(file: str, node: ast.ClassDef) -> Iterator[Point]:
    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    for method in node.body:
        if not isinstance(method, ast.FunctionDef):
            continue
        if bases & {"Connection", "BufferedProtocol"} and method.name in TRANSPORT:
            yield Point(f"{file}: {node.name}.{method.name}", file, 0, 0)
        if method.name == "__init__":
            for given in method.args.args:
                if given.annotation and ast.unparse(given.annotation).startswith("Callable["):
                    yield Point(f"{file}: {node.name}({given.arg})", file, 0, 0)


def control(path: Path) -> mmap.mmap:
    """Return the mapped control file, made where it is not there yet."""
    with path.open("a+b") as file:
        file.truncate(SIZE)
        return mmap.mmap(file.fileno(), SIZE)


def arm(mapped: mmap.mmap, name: str) -> None:
    """Have the next callback of this point raise."""
    mapped[:SIZE] = name.encode().ljust(SIZE, b"\0")


def armed(mapped: mmap.mmap) -> bool:
    """Return whether it has not raised yet."""
    return mapped[0] != 0


class Injected(RuntimeError):
    """The error of hookd's own."""


class Points:
    """The points of this process."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._points = [point for point in points() if point.first]

    def reached(self, name: bytes) -> None:
        """Raise here if this is the point."""
        if self._mapped[0] and self._mapped[: len(name) + 1] == name + b"\0":
            self._mapped[0] = 0
            raise Injected(name.decode())

    def around(self, callback: Any, name: str) -> Any:
        """Return the callback, made to raise when it is its turn."""
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
            if point.file == file and lines and f": {called}: " in point.name:
                return point.name
        return None

    def set(self, owner: Any, called: str) -> None:
        """Put a point wherever hookd gives this one a callback."""
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
        """Put a point into a method that a transport calls, or around what a constructor takes."""
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
    """Put in all points of this process."""
    here = Points(mapped)
    faults = importlib.import_module("hookd.faults")
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
    here.set(importlib.import_module("hookd.journal").Journal, "when_flushed")
    if program == "server":
        for called in ("submit", "_from_thread"):
            here.set(importlib.import_module("hookd.server.store").Store, called)
    for point in points():
        folder = point.file.split("/")[1]
        if not point.first and (folder == program or folder.endswith(".py")):
            here.set_in_class(point)


def main() -> None:
    """Be the program."""
    program = sys.argv[2]
    mapped = control(Path(sys.argv[1]))
    sys.argv = [f"hookd-{program}", *sys.argv[4:]]
    install(mapped, program)
    sys.exit(importlib.import_module(f"hookd.{program}.main").main())


if __name__ == "__main__":
    main()
