# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a test must not leave behind: looked at before it, and again when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
WITHIN = 5.0  # seconds that what has been told to end may take to be gone

_abandoned: set[str] = set()


class _Loop(asyncio.SelectorEventLoop):
    """A loop that notes the tasks which outlive its main one, before asyncio.run cancels them."""

    def run_until_complete(self, future: Any) -> Any:
        try:
            return super().run_until_complete(future)
        finally:
            _abandoned.update(f"task {task}" for task in asyncio.all_tasks(self))


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _Loop()


def watch() -> None:
    """See to it that tasks are noted, and that orphans of this process come to it."""
    asyncio.set_event_loop_policy(_Policy())
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextlib.contextmanager
def none_allowed() -> Generator[None, None, None]:
    """Raise AssertionError when there is more at the end than there was at the beginning.

    What a process that was there before has started is not looked at until that has ended: a
    daemon that tests share starts and ends launchers as it likes.
    """
    earlier = frozenset(_children(os.getpid()))
    before = set(_belongings())
    _abandoned.clear()
    yield
    deadline = time.monotonic() + WITHIN
    while left := {*_belongings(earlier), *_abandoned} - before:
        if time.monotonic() > deadline or _abandoned:
            raise AssertionError("left behind: " + "; ".join(sorted(left)))
        gc.collect()  # what nothing refers to any more is not left behind
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Return whether a process is there and has not ended: an orphan of ours stays a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def _belongings(earlier: frozenset[int] = frozenset()) -> Iterator[str]:
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that this listing had
            yield f"descriptor {entry} ({os.readlink(f'/proc/self/fd/{entry}')})"
    for thread in threading.enumerate():
        yield f"thread {thread.name}"
    for pid in _children(os.getpid(), earlier):
        yield f"process {pid} ({_command(pid)})"
    for name in os.listdir(tempfile.gettempdir()):
        yield f"file {name}"


def _children(parent: int, earlier: frozenset[int] = frozenset()) -> Iterator[int]:
    """Yield the living descendants of a process, but for those from earlier and what is theirs."""
    try:
        threads = list(Path(f"/proc/{parent}/task").glob("*/children"))
    except (FileNotFoundError, ProcessLookupError):
        return
    for list_of_thread in threads:
        try:
            children = list_of_thread.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in map(int, children):
            if child not in earlier and alive(child):
                yield child
                yield from _children(child, earlier)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
