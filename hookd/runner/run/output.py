# SPDX-License-Identifier: LGPL-2.1-or-later
"""The output of a hook: read continuously, bounded, and passed on in lines.

The event loop reads both pipes whenever they have data, so a hook never waits. The first `budget`
bytes of a run are kept and passed on. A turn of the loop passes on only a few lines, and only
while the journal takes them, so that a run neither delays others nor fills memory. The rest is
counted and dropped.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import mmap
import os
import termios
from collections.abc import Callable
from typing import Protocol

from hookd.link import Start
from hookd.runner.run import invocation
from hookd.system import faults
from hookd.system.journal import Context, Journal
from hookd.system.records import printable_bytes

MAX_LINE = 48 * 1024  # bytes: a longer line is passed on in pieces, as journald does with stdout
CHUNK = 65536  # bytes of one read: what a pipe holds by default, see pipe(7)
WIDE = 1024 * 1024  # bytes of a pipe and a read once output is dropped: pipe-max-size's default
PAUSE_SEC = 0.002  # between two such reads; with WIDE that is faster than most programs print
LAST_READ = 16 * CHUNK  # bytes read at most when the run is over: as much as a pipe can hold
TAIL = 4096  # bytes kept to find the last line
LINES = 64  # lines passed on in one turn of the loop

# All runs read into these two buffers, one read at a time. A buffer for each read would have to be
# allocated and freed. The wide one takes no memory until the first flood.
_chunk, _wide = bytearray(CHUNK), mmap.mmap(-1, WIDE)


class Sink(Protocol):
    """The part of the journal that `Output` needs."""

    @property
    def flushed(self) -> bool:
        """Whether the sink takes lines now."""
        ...

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the sink takes lines."""
        ...


class Output:
    """Both streams of one run.

    `lines` is called with a stream's name and its next lines, `failed` with the error when a fault
    keeps the streams from being read.
    """

    __slots__ = (
        "_budget", "_done", "_ended", "_failed", "_latest", "_lines", "_loop", "_pumping", "_sink",
        "_streams", "dropped", "total",
    )  # fmt: skip

    def __init__(
        self,
        budget: int,
        lines: Callable[[str, list[bytes]], None],
        sink: Sink,
        failed: Callable[[Exception], None],
    ) -> None:
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._budget = budget
        self._lines = lines
        self._sink = sink
        self._streams: list[_Stream] = []
        self._latest: _Stream | None = None
        self._pumping = False
        self._ended = False
        self._done: asyncio.Future[None] | None = None
        self.total = 0
        self.dropped = 0

    @property
    def last_line(self) -> str | None:
        """The last line of the stream that was written last, or None if nothing was printed.

        The text is escaped as in the journal. If a line was overwritten by means of CR, this is
        the part that a terminal would have shown last.
        """
        tail = self._latest.tail.rstrip() if self._latest is not None else b""
        line = tail.rpartition(b"\n")[2].rpartition(b"\r")[2]
        return printable_bytes(line) or None

    @property
    def waiting(self) -> bool:
        """Whether any lines have not been passed on yet."""
        return any(stream.kept for stream in self._streams)

    def open(self, uid: int) -> tuple[int, int]:
        """Make the pipes; return the descriptors for the program's 1 and 2.

        The caller closes them. They belong to this user, so that the program can open
        `/dev/stdout`. The reading ends do not block, because a program may open its own pipe and
        empty it first.
        """
        given = []
        foreign = uid != os.geteuid()
        for name in ("stdout", "stderr"):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(reader, False)
            if foreign:
                os.fchown(writer, uid, -1)
            self._streams.append(_Stream(name, reader))
            given.append(writer)
        return given[0], given[1]

    def discard(self) -> None:
        """Close the pipes of a program that was not started; `open` makes new ones."""
        for stream in self._streams:
            self._close(stream)
        self._streams.clear()

    def read(self) -> None:
        """Start to read whenever the pipes have data."""
        for stream in self._streams:
            self._watch(stream)

    def finish(self) -> None:
        """Read what is left in the pipes and close them, even if processes hold them open."""
        for stream in self._streams:
            end = self.total + LAST_READ
            while stream.fd >= 0 and self.total < end and self._readable(stream):
                pass
            self._drop_rest(stream)
            self._close(stream)
        self._ended = True
        self._pump()

    def _drop_rest(self, stream: _Stream) -> None:
        """Count and drop the bytes that are still in the pipe.

        There are some if the program made the pipe larger or is still writing.
        """
        if stream.fd >= 0:
            left = array.array("i", [0])
            fcntl.ioctl(stream.fd, termios.FIONREAD, left)
            self.total += left[0]
            self.dropped += left[0]

    async def flush(self, seconds: float) -> None:
        """Wait until all lines are passed on; after this many seconds, count and drop the rest."""
        if self.waiting:
            self._done = self._loop.create_future()
            await asyncio.wait([self._done], timeout=seconds)
        for stream in self._streams:
            self.dropped += len(stream.kept)
            stream.kept.clear()

    def _readable(self, stream: _Stream) -> bool:
        """Read once; return False if there was nothing to read."""
        try:
            size = os.readv(stream.fd, [stream.buffer])
        except BlockingIOError:
            return False
        if not size:
            self._close(stream)
            return False
        self._take(stream, memoryview(stream.buffer)[:size])
        return True

    def _close(self, stream: _Stream) -> None:
        if stream.fd >= 0:
            self._unwatch(stream)
            os.close(stream.fd)
            stream.fd = -1

    def _take(self, stream: _Stream, data: memoryview) -> None:
        room = self._budget - (self.total - self.dropped)
        self.total += len(data)
        self.dropped += max(0, len(data) - room)
        stream.tail = (stream.tail + bytes(data[-TAIL:]))[-TAIL:]
        self._latest = stream
        if room <= 0:
            stream.widen()
            self._unwatch(stream)
            self._loop.call_later(PAUSE_SEC, self._called, self._watch, stream)
        else:
            stream.kept += data[:room]
            if not self._pumping:
                self._pump()

    def _watch(self, stream: _Stream) -> None:
        if stream.fd >= 0:
            self._loop.add_reader(stream.fd, self._called, self._readable, stream)
            stream.watched = True

    def _unwatch(self, stream: _Stream) -> None:
        if stream.watched:
            self._loop.remove_reader(stream.fd)
            stream.watched = False

    def _pump(self) -> None:
        """Pass some lines on; continue in the next turn of the loop if there are more."""
        self._pumping = False
        more = False
        for stream in self._streams:
            if self._sink.flushed and (lines := stream.next_lines(self._ended)):
                more = True
                self._lines(stream.name, [line for line in lines if line])
        if not more and self._sink.flushed:
            if self._done is not None and not self._done.done():
                self._done.set_result(None)
            return
        self._pumping = True
        if self._sink.flushed:
            self._loop.call_soon(self._called, self._pump)
        else:
            self._sink.when_flushed(lambda: self._called(self._pump))

    def _called(self, act: Callable[..., object], *values: _Stream) -> None:
        faults.guarded("the output of a run", lambda: act(*values), self._broken)

    def _broken(self, error: Exception) -> None:
        """Stop reading, and leave the end of the run to the owner."""
        for stream in self._streams:
            self._unwatch(stream)
        self._failed(error)


class OutputLines:
    """Writes the output of a run to the journal, one record for each line.

    If the run is a test of its hook, `printed` is called with the stream's name and each line.
    """

    __slots__ = ("_contexts", "_journal", "_printed", "_start")

    def __init__(
        self, start: Start, journal: Journal, printed: Callable[[str, str], None]
    ) -> None:
        self._start = start
        self._journal = journal
        self._printed = printed
        self._contexts: dict[str, Context] = {}

    def pass_on(self, stream: str, lines: list[bytes]) -> None:
        """Write the next lines of a stream."""
        context = self._contexts.get(stream)
        if context is None:
            context = self._contexts[stream] = invocation.line_fields(self._start, stream)
        texts = [printable_bytes(line) for line in lines]
        self._journal.lines(texts, self._start.hook, context)
        if self._start.event.test:
            for text in texts:
                self._printed(stream, text)


class _Stream:
    """One pipe. `kept` is not passed on yet; `tail` is the end of all that was read."""

    __slots__ = ("buffer", "fd", "kept", "name", "tail", "watched")

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.kept = bytearray()
        self.tail = b""
        self.buffer: bytearray | mmap.mmap = _chunk
        self.watched = False

    def widen(self) -> None:
        """Read in large pieces from now on, so that a flood takes few turns of the loop."""
        if self.buffer is not _wide:
            self.buffer = _wide
            with contextlib.suppress(OSError):  # the user may have reached the limit for pipes
                fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, WIDE)

    def next_lines(self, ended: bool) -> list[bytes]:
        """Remove and return the next lines; none if no line is complete and more may come."""
        end = self.kept.rfind(b"\n", 0, MAX_LINE)
        if end < 0:
            if len(self.kept) < MAX_LINE and not (ended and self.kept):
                return []
            lines = [bytes(self.kept[:MAX_LINE])]
            del self.kept[:MAX_LINE]
            return lines
        lines = bytes(self.kept[:end]).split(b"\n", LINES)[:LINES]
        del self.kept[: sum(map(len, lines)) + len(lines)]
        return [line.removesuffix(b"\r") for line in lines]
