# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sends records to the journal, or to stderr if no journal listens.

Records are datagrams of the journal's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL)
on one non-blocking socket. libsystemd's own sender would wait for a journal that is stuck, and
does not report that none listens. Records that the journal does not accept at once wait in a
bounded queue. Records that do not fit are counted, and the number is recorded when the journal
accepts records again. Everything runs in one asyncio loop; there is no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping

from hookd.system import faults
from hookd.system.records import ERR, INFO, NOTICE, RECORDS_LOST, WARNING, RecordKind, printable

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "hookd"
MAX_QUEUE = 10_000  # records that wait until the journal accepts them
MAX_QUEUE_BYTES = 32 * 1024 * 1024  # their size: one record of a job may have 250 kB
AGAIN_SEC = 0.02  # between two attempts if no event reports free space
LOOK_AGAIN_SEC = 2.0  # between two attempts to find a missing journal
ROOM = 8 * 1024 * 1024  # bytes of SO_SNDBUF; limited to net.core.wmem_max, see socket(7)
TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)  # of a datagram, see send(2)
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
MAX_LINE = 4096  # bytes on stderr: a writable pipe accepts PIPE_BUF at once, see pipe(7)

Value = str | int | None
Fields = Mapping[str, Value]

_WORDS = {ERR: "error: ", WARNING: "warning: ", NOTICE: "notice: "}
_HEAD = ("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE_ID")
_SHOWN_OF_A_LINE = ("HOOKD_RUN_ID", "HOOKD_STREAM")


def encode(fields: Fields) -> bytes:
    """Return the fields in the format of a datagram, without those that are None."""
    lines = [f"{name}={value}\n" for name, value in fields.items() if value is not None]
    text = "".join(lines)
    if text.count("\n") == len(lines):
        return _bytes(text)
    return b"".join(map(_field, lines))


def _field(line: str) -> bytes:
    """Return one field; a value of several lines is preceded by its length."""
    encoded = _bytes(line)
    name, _, value = encoded.partition(b"=")
    if b"\n" not in value[:-1]:
        return encoded
    return b"%b\n%b%b" % (name, (len(value) - 1).to_bytes(8, "little"), value)


def _bytes(text: str) -> bytes:
    """Return text as UTF-8; bytes that os.fsdecode could not decode stay as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def decode(datagram: bytes) -> dict[str, str]:
    """Return the fields of a datagram made by `encode`; bytes that are not UTF-8 as \\xNN."""
    fields: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, single, value = line.partition(b"=")
        if not single:
            end = 8 + int.from_bytes(datagram[:8], "little")
            value, datagram = datagram[8:end], datagram[end + 1 :]
        fields[name.decode()] = value.decode("utf-8", "backslashreplace")
    return fields


def readable(datagram: bytes) -> bytes:
    """Return a datagram as one line that a pipe accepts at once."""
    fields = decode(datagram)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    words = _WORDS.get(int(fields["PRIORITY"]), "") if "MESSAGE_ID" in fields else ""
    text = f"{stamp} {fields['SYSLOG_IDENTIFIER']}: {words}{fields['MESSAGE']}"
    if "MESSAGE_ID" in fields:
        shown = [name for name in fields if name not in _HEAD]
    else:  # a line that a program has printed
        shown = [name for name in _SHOWN_OF_A_LINE if name in fields]
    tail = " ".join(f"{name}={printable(fields[name])}" for name in shown)
    line = (f"{text} ({tail})" if tail else text).encode("utf-8", "replace")
    return line[: MAX_LINE - 1] + b"\n"


class Context:
    """Fields that many records share, such as those of one run; encoded at most once."""

    __slots__ = ("_encoded", "fields")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        """The fields in the format of a datagram."""
        if self._encoded is None:
            self._encoded = encode(self.fields)
        return self._encoded


NOTHING = Context({})


class Journal:
    """Sends records. `send` never blocks and never fails.

    Create it inside the running loop. `path` is the journal's socket, `stderr` a descriptor.
    """

    def __init__(self, path: str = SOCKET, stderr: int = 2) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._stderr = stderr
        self._socket: socket.socket | None = None
        self._inode = 0
        self._looked = -LOOK_AGAIN_SEC
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._lost = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._retry = faults.Timer(self._drain)
        self._look()

    @property
    def flushed(self) -> bool:
        """Whether everything sent so far has been delivered, or counted as lost."""
        return not self._queue

    def send(
        self,
        kind: RecordKind,
        fields: Fields | None = None,
        *,
        context: Context = NOTHING,
        detail: str = "",
        priority: int | None = None,
        identifier: str = IDENTIFIER,
    ) -> None:
        """Write one record: the kind's text, and fields with their exact values.

        MESSAGE is always one line. `detail` replaces the placeholder of that name in the text.
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
        self._enqueue(encode(head) + context.encoded + encode(fields))

    def lines(self, texts: list[str], identifier: str, context: Context) -> None:
        """Write lines that a program has printed, one record for each.

        `identifier` is the name of the program; each text is one printable line. Each record has
        a datagram of its own: of several records in one, journald 257 keeps only the first.
        """
        self._look()
        head = encode({"PRIORITY": INFO, "SYSLOG_IDENTIFIER": identifier}) + context.encoded
        for text in texts:
            self._enqueue(b"%bMESSAGE=%b\n" % (head, text.encode()))

    async def flush(self, seconds: float) -> None:
        """Wait until everything sent so far is delivered, for `seconds` seconds at most."""
        event = asyncio.Event()
        self.when_flushed(event.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
        with contextlib.suppress(ValueError):
            self._waiting.remove(event.set)

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call `callback` when everything sent so far is delivered; callbacks keep their order."""
        if self._queue:
            self._waiting.append(callback)
        else:
            self._loop.call_soon(callback)

    def close(self, seconds: float = 1.0) -> None:
        """Deliver the queue within `seconds` seconds, and close the socket."""
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
        """Check that the journal is still there; look for one at most every LOOK_AGAIN_SEC."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                if os.stat(self._path).st_ino == self._inode:
                    return
            self._disconnect()
        if time.monotonic() - self._looked >= LOOK_AGAIN_SEC:
            self._looked = time.monotonic()
            self._connect()
        if self._queue:  # it may have waited for space on the other descriptor
            self._wait()

    def _connect(self) -> None:
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError:
            return  # no descriptor is left; the caller must not fail because of it
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        try:
            sock.connect(self._path)
            self._inode = os.stat(self._path).st_ino
        except OSError:
            sock.close()
        else:
            self._socket = sock

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _enqueue(self, datagram: bytes) -> None:
        if not self._queue and self._write(datagram):
            return
        size = self._queued_bytes + len(datagram)
        if len(self._queue) >= MAX_QUEUE or size > MAX_QUEUE_BYTES:
            self._lost += 1
            return
        self._queue.append(datagram)
        self._queued_bytes = size
        if len(self._queue) == 1:
            self._wait()

    def _wait(self) -> None:
        """Have `_drain` called when there is space."""
        if self._socket is not None:
            self._loop.add_writer(self._socket.fileno(), self._drain)
        else:  # epoll(7) refuses a regular file, which stderr may be
            self._retry.within(AGAIN_SEC)

    def _drain(self) -> None:
        self._retry.cancel()
        self._look()
        while self._queue:
            if not self._write(self._queue[0]):
                self._wait()
                return
            self._queued_bytes -= len(self._queue.popleft())
        if self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
        if self._lost:
            lost, self._lost = self._lost, 0
            self.send(RECORDS_LOST, detail=f"{lost} records were lost: the journal took none")
        while self._waiting and not self._queue:
            faults.guarded("what waited for the journal", self._waiting.popleft())

    def _write(self, datagram: bytes) -> bool:
        """Deliver one record; return False if there is no space for it now.

        A record that cannot be written because of a fault is lost, and does not delay others.
        """
        try:
            return self._hand_over(datagram)
        except Exception as e:  # of any kind
            self._lost += 1
            faults.report(e, "a record")
            return True

    def _hand_over(self, datagram: bytes) -> bool:
        if self._socket is None:
            return self._print(datagram)
        try:
            self._socket.send(datagram)
        except BlockingIOError:
            return False
        except OSError as e:
            if e.errno in TOO_LARGE:
                return self._write_large(self._socket, datagram)
            self._disconnect()
            return self._print(datagram)
        return True

    def _write_large(self, sock: socket.socket, datagram: bytes) -> bool:
        """Deliver a record that is too large for a datagram as the descriptor of a file."""
        try:
            fd = _sealed(datagram)
        except OSError:  # no descriptor or no memory is left
            return self._print(datagram)
        try:
            socket.send_fds(sock, [b""], [fd])
        except BlockingIOError:
            return False
        except OSError:
            self._disconnect()
            return self._print(datagram)
        finally:
            os.close(fd)
        return True

    def _print(self, datagram: bytes) -> bool:
        """Write to stderr; return False if there is no space for it now."""
        try:
            if not select.select([], [self._stderr], [], 0)[1]:
                return False
            os.write(self._stderr, readable(datagram))
        except (OSError, ValueError):  # nobody reads, or the descriptor is closed
            self._lost += 1
        return True


def _sealed(datagram: bytes) -> int:
    """Return a descriptor of a sealed file in memory: see memfd_create(2)."""
    fd = os.memfd_create("hookd-record", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        if os.write(fd, datagram) < len(datagram):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd
