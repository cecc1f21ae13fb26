# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a hook prints: read all the time, cut into lines, bounded.

The loop reads both pipes whenever there is something, so a hook never waits for the journal. The
first `budget` bytes of a run are passed on as lines; the rest is counted and dropped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

MAX_LINE = 48 * 1024  # bytes: a longer line is passed on in pieces, as journald does with stdout
CHUNK = 65536  # bytes of one read: what a pipe holds by default, see pipe(7)
DRAIN = 16 * CHUNK  # bytes still read of a pipe when the run is over: what a pipe can hold at most
TAIL = 4096  # bytes kept of what is dropped, for the last line

Line = Callable[[str, bytes], None]


class Output:
    """Both streams of one run. `line` is called with the stream's name and each line."""

    __slots__ = ("_budget", "_last", "_line", "_loop", "_streams", "dropped", "total")

    def __init__(self, budget: int, line: Line) -> None:
        self._loop = asyncio.get_running_loop()
        self._budget = budget
        self._line = line
        self._streams: list[_Stream] = []
        self._last = b""
        self.total = 0
        self.dropped = 0

    @property
    def last_line(self) -> str | None:
        """The last line that is not blank, of either stream; None where there is none."""
        return self._last.decode(errors="replace") or None

    def open(self) -> tuple[int, int]:
        """Make the pipes; return the descriptors for the program's 1 and 2, the caller's to close.

        The reading ends do not block: a program may open its own pipe and empty it first.
        """
        given = []
        for name in ("stdout", "stderr"):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reader, False)
            stream = _Stream(name, reader)
            self._streams.append(stream)
            given.append(writer)
        return given[0], given[1]

    def read(self) -> None:
        """Read from now on whenever there is something."""
        for stream in self._streams:
            self._loop.add_reader(stream.fd, self._readable, stream)

    def finish(self) -> None:
        """Take what lies in the pipes and close them, whoever else still holds them open."""
        for stream in self._streams:
            end = self.total + DRAIN
            while stream.fd >= 0 and self.total < end and self._readable(stream):
                pass
            self._close(stream)
            if stream.rest:
                self._emit(stream, [stream.rest])
            if stream.tail:
                self._remember(stream.tail.rstrip().rpartition(b"\n")[2])
        self._streams.clear()

    def _readable(self, stream: _Stream) -> bool:
        """Read once; False at the end of what there is."""
        try:
            data = os.read(stream.fd, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._close(stream)
            return False
        self._take(stream, data)
        return True

    def _close(self, stream: _Stream) -> None:
        if stream.fd >= 0:
            self._loop.remove_reader(stream.fd)
            os.close(stream.fd)
            stream.fd = -1

    def _take(self, stream: _Stream, data: bytes) -> None:
        room = max(0, self._budget - (self.total - self.dropped))
        self.total += len(data)
        kept = data[:room]
        if len(kept) < len(data):
            self.dropped += len(data) - len(kept)
            stream.tail = (stream.tail + data[-TAIL:])[-TAIL:]
        *lines, rest = (stream.rest + kept).split(b"\n")
        while len(rest) >= MAX_LINE:
            lines.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        stream.rest = rest
        self._emit(stream, lines)

    def _emit(self, stream: _Stream, lines: list[bytes]) -> None:
        for line in lines:
            for start in range(0, len(line) or 1, MAX_LINE):
                self._line(stream.name, line[start : start + MAX_LINE])
            self._remember(line)

    def _remember(self, line: bytes) -> None:
        if line := line[:TAIL].strip():
            self._last = line


class _Stream:
    """One pipe: `rest` is the unfinished line, `tail` the end of what was dropped."""

    __slots__ = ("fd", "name", "rest", "tail")

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.rest = b""
        self.tail = b""
