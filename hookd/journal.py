# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records on their way to the journal, or to stderr where no journal listens.

systemd-python's `sendv` writes them; a socket of our own says first whether a journal listens and
has room, because `sendv` says nothing when none does, and holds the interpreter's lock while it
waits for one that is stuck. What the journal does not take at once waits in a bounded queue; what
does not fit is counted, and said when the journal takes records again. All of it belongs to one
asyncio loop; no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from systemd.journal import sendv

from hookd import faults
from hookd.records import ERR, INFO, NOTICE, RECORDS_LOST, WARNING, Kind, printable

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "hookd"
MAX_QUEUE = 10_000  # records that wait for a journal that does not take them
AGAIN_SEC = 0.02  # between two tries where nothing tells that there is room
LOOK_AGAIN_SEC = 2.0  # between two looks for a journal that is not there
PACKET = 128 * 1024  # bytes: a socket of the default size, see socket(7), takes them at once
ROOM = 8 * 1024 * 1024  # bytes asked for; the kernel gives net.core.wmem_max, see socket(7)
MAX_LINE = 4096  # bytes on stderr: a pipe that is writable takes PIPE_BUF at once, see pipe(7)

Value = str | int | None
Fields = Mapping[str, Value]

_WORDS = {ERR: "error: ", WARNING: "warning: ", NOTICE: "notice: "}


def encode(fields: Fields) -> tuple[bytes, ...]:
    """Return the fields as `sendv` takes them; those that are None are left out."""
    return tuple(
        [
            f"{name}={value}".encode("utf-8", "surrogateescape")
            for name, value in fields.items()
            if value is not None
        ]
    )


class Context:
    """Fields that many records share, such as all of one run: encoded at most once."""

    __slots__ = ("_encoded", "_packed", "fields")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._encoded: tuple[bytes, ...] | None = None
        self._packed: bytes | None = None

    @property
    def packed(self) -> bytes:
        """The fields as they stand in a packet."""
        if self._packed is None:
            self._packed = b"".join(map(_pack, self.encoded))
        return self._packed

    @property
    def encoded(self) -> tuple[bytes, ...]:
        """The fields as `sendv` takes them."""
        if self._encoded is None:
            self._encoded = encode(self.fields)
        return self._encoded


def _pack(field: bytes) -> bytes:
    """Return a field as it stands in a packet: with its length where it has more than a line."""
    if b"\n" not in field:
        return field + b"\n"
    name, _, value = field.partition(b"=")
    return name + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


NOTHING = Context({})


class _Record:
    """One record on its way, in either of its two forms."""

    __slots__ = ("context", "fields", "head")

    def __init__(self, head: dict[str, Value], fields: Fields, context: Context) -> None:
        self.head = head
        self.fields = fields
        self.context = context

    def native(self) -> tuple[bytes, ...]:
        """Return it as the journal takes it."""
        return encode(self.head) + encode(self.fields) + self.context.encoded

    def readable(self) -> bytes:
        """Return it as one line that fits into a pipe at once."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        words = _WORDS.get(int(self.head["PRIORITY"] or 0), "")
        text = f"{stamp} {self.head['SYSLOG_IDENTIFIER']}: {words}{self.head['MESSAGE']}"
        shown = {**self.context.fields, **self.fields}
        tail = " ".join(f"{k}={printable(str(v))}" for k, v in shown.items() if v is not None)
        line = (f"{text} ({tail})" if tail else text).encode("utf-8", "replace")
        return line[: MAX_LINE - 1] + b"\n"


class _Line:
    """A line of a program on its way: a datagram of its own, with little to be encoded for each.

    Several in a datagram, as in the journal's export format, would be faster by a third; the page
    of the native protocol does not promise it, and of those journald 257 keeps the first alone.
    """

    __slots__ = ("context", "identifier", "text")

    def __init__(self, text: str, identifier: str, context: Context) -> None:
        self.text = text
        self.identifier = identifier
        self.context = context

    def packet(self) -> bytes:
        """Return it as the journal takes it."""
        head = f"PRIORITY={INFO}\nSYSLOG_IDENTIFIER={self.identifier}\n".encode()
        return head + self.context.packed + b"MESSAGE=" + self.text.encode() + b"\n"

    def native(self) -> tuple[bytes, ...]:
        """Return it as the library takes it, which passes on what is too large a packet."""
        message, name = self.text, self.identifier
        head: Fields = {"PRIORITY": INFO, "SYSLOG_IDENTIFIER": name, "MESSAGE": message}
        return encode(head) + self.context.encoded

    def readable(self) -> bytes:
        """Return it as one line that fits into a pipe at once."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        shown = {key: self.context.fields.get(key) for key in ("HOOKD_RUN_ID", "HOOKD_STREAM")}
        tail = " ".join(f"{k}={printable(str(v))}" for k, v in shown.items() if v is not None)
        line = f"{stamp} {self.identifier}: {self.text} ({tail})".encode("utf-8", "replace")
        return line[: MAX_LINE - 1] + b"\n"


class Journal:
    """The way out for records. `send` never blocks and never fails.

    Make it inside the running loop. `path` is the journal's socket, `stderr` a descriptor.
    """

    def __init__(self, path: str = SOCKET, stderr: int = 2) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._stderr = stderr
        self._socket: socket.socket | None = None
        self._room = select.poll()
        self._inode = 0
        self._library_blocks = True  # until its own socket is known
        self._library_full = False  # its own socket, while ours may have room
        self._looked = -LOOK_AGAIN_SEC
        self._queue: deque[_Record | _Line] = deque()
        self._lost = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._retry = faults.Timer(self._drain)
        self._look()

    @property
    def flushed(self) -> bool:
        """Whether everything sent so far has been handed over, or counted as lost."""
        return not self._queue

    def send(
        self,
        kind: Kind,
        fields: Fields | None = None,
        *,
        context: Context = NOTHING,
        detail: str = "",
        priority: int | None = None,
        identifier: str = IDENTIFIER,
    ) -> None:
        """Write one record: the kind's words, and fields with their exact values.

        MESSAGE is always one line. `detail` fills the place of that name in the kind's text.
        """
        fields = fields or {}
        values = {**context.fields, **fields, "detail": detail}
        head: dict[str, Value] = {
            "MESSAGE": printable(kind.text.format_map(values)),
            "PRIORITY": kind.priority if priority is None else priority,
            "SYSLOG_IDENTIFIER": identifier,
            "MESSAGE_ID": kind.message_id,
        }
        self._look()
        self._enqueue(_Record(head, fields, context))

    def lines(self, texts: list[str], identifier: str, context: Context) -> None:
        """Write lines that somebody else has said, a record each.

        `identifier` is who; each text is printable, and not empty.
        """
        self._look()
        for text in texts:
            self._enqueue(_Line(text, identifier, context))

    async def flush(self, seconds: float) -> None:
        """Wait until what was sent is handed over, but no longer than this."""
        event = asyncio.Event()
        self.when_flushed(event.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
        with contextlib.suppress(ValueError):
            self._waiting.remove(event.set)

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call back when everything sent so far has been handed over; who waits takes turns."""
        if self._queue:
            self._waiting.append(callback)
        else:
            self._loop.call_soon(callback)

    def close(self, seconds: float = 1.0) -> None:
        """Hand over what waits, in this bounded time, and let go of the socket."""
        deadline = time.monotonic() + seconds
        while self._queue and (left := deadline - time.monotonic()) > 0:
            target = self._socket.fileno() if self._socket else self._stderr
            poll = select.poll()
            poll.register(target, select.POLLOUT)
            poll.poll(left * 1000)
            self._drain()
        self._disconnect()
        self._retry.cancel()

    def _look(self) -> None:
        """Connect where a journal listens; look for one only so often."""
        if self._socket is not None or time.monotonic() - self._looked < LOOK_AGAIN_SEC:
            return
        self._looked = time.monotonic()
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError:
            return  # no descriptor is left, which must not hurt who has something to say
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        try:
            sock.connect(self._path)
            self._inode = os.stat(self._path).st_ino
        except OSError:
            sock.close()
        else:
            self._socket = sock
            self._room = select.poll()
            self._room.register(sock, select.POLLOUT)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _enqueue(self, record: _Record | _Line) -> None:
        if not self._queue and self._write(record):
            return
        if len(self._queue) >= MAX_QUEUE:
            self._lost += 1
            return
        self._queue.append(record)
        if len(self._queue) == 1:
            self._wait()

    def _wait(self) -> None:
        """See to it that `_drain` is called when there is room."""
        if self._socket is not None and not self._library_full:
            self._loop.add_writer(self._socket.fileno(), self._drain)
            return
        if self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
        self._retry.within(AGAIN_SEC)  # epoll(7) takes no regular file, which stderr may be

    def _drain(self) -> None:
        self._library_full = False
        while self._queue:
            if not self._write(self._queue[0]):
                self._wait()
                return
            self._queue.popleft()
        if self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
        if self._lost:
            lost, self._lost = self._lost, 0
            self.send(RECORDS_LOST, detail=f"{lost} records were lost: the journal took none")
        while self._waiting and not self._queue:
            faults.guarded("what waited for the journal", self._waiting.popleft())

    def _write(self, record: _Record | _Line) -> bool:
        """Hand over one record; False where there is no room for it now.

        One that cannot be written for an error of hookd's own is lost, and holds up no other.
        """
        try:
            return self._hand_over(record)
        except Exception as e:  # whatever it is
            self._lost += 1
            faults.report(e, "a record")
            return True

    def _hand_over(self, record: _Record | _Line) -> bool:
        if self._socket is not None:
            try:
                if os.stat(self._path).st_ino == self._inode:
                    return bool(self._room.poll(0)) and self._send(self._socket, record)
            except OSError:
                pass
            self._disconnect()
        return self._print(record)

    def _send(self, sock: socket.socket, record: _Record | _Line) -> bool:
        """Write, records by the library; False where the last place was just taken."""
        packet = record.packet() if isinstance(record, _Line) else b""
        own = 0 < len(packet) <= PACKET
        try:
            if own:
                sock.send(packet)
            elif self._library_blocks:
                _first(record.native())
                self._library_blocks = False
            else:
                sendv(*record.native())
        except BlockingIOError:
            self._library_full = not own
            return False
        return True

    def _print(self, record: _Record | _Line) -> bool:
        """Write to stderr; False where there is no room for it now."""
        try:
            if not select.select([], [self._stderr], [], 0)[1]:
                return False
            os.write(self._stderr, record.readable())
        except (OSError, ValueError):  # nobody reads, or the descriptor is closed
            self._lost += 1
        return True


def _sockets() -> set[int]:
    """Return this process's descriptors that are sockets (proc_pid_fd(5))."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(entry.readlink()).startswith("socket:"):
                found.add(int(entry.name))
    return found


def _first(parts: tuple[bytes, ...]) -> None:
    """Send the first record, and let the socket that the library opens for it never block.

    sd_journal_sendv(3) keeps one socket for good and has no other way to be told.
    """
    before = _sockets()
    sendv(*parts)
    for fd in _sockets() - before:
        os.set_blocking(fd, False)
