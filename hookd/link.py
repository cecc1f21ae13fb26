# SPDX-License-Identifier: LGPL-2.1-or-later
"""The messages between the server and the runner, and their encoding.

A frame is four bytes of length (big-endian) and a msgpack list of messages; messages that are
ready at the same time share a frame. The link is a stream socket: one event may be larger than the
largest packet that a socket buffer holds. The server sends a hook's name and values, never a
command. Pure.

The runner begins with `Welcome`. It answers `Start` with `Started` and, when the run has ended,
with `Ended`; if nothing could be started, with `Ended` at once. It repeats `Ended` in each
`Welcome` until `Settled` says that the result is on the server's disk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

import msgspec

from hookd.model import Event, Receipt

CHUNK = 64 * 1024  # bytes read at a time, into a buffer that is reused
MAX_FRAME = 8 * 1024 * 1024  # bytes; a larger frame is an error: the largest event is a megabyte
FULL_FRAME = 1024 * 1024  # bytes from which on no further message is added to a frame


class _Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The base of all messages: a tag tells the other side which message it is."""


class Start(_Message, frozen=True, tag=True, array_like=True):
    """Server to runner: run this hook. A run_id is started at most once."""

    run_id: int
    hook: str
    attempt: int
    event: Event


class Cancel(_Message, frozen=True, tag=True, array_like=True):
    """Server to runner: end this run (TERM, grace, KILL); its result is `cancelled`."""

    run_id: int
    reason: str


class Settled(_Message, frozen=True, tag=True, array_like=True):
    """Server to runner: the results of these runs are on disk and may be forgotten."""

    run_ids: list[int]


class Reload(_Message, frozen=True, tag=True, array_like=True):
    """Server to runner: read the configuration again. Answered by `Reloaded`.

    `strict`: a hook that cannot run on this machine now is an error; otherwise it is `unusable`,
    as at a start. `hold`: the new configuration is kept aside until `Adopt`, so that runs start
    under the old one, however long the checks take.
    """

    strict: bool = True
    hold: bool = False


class Adopt(_Message, frozen=True, tag=True, array_like=True):
    """Server to runner: use the configuration with this digest, which was read and held."""

    digest: str


class List(_Message, frozen=True, tag=True, array_like=True):
    """Server to runner: list the runs again. Answered by another `Welcome`."""


class Running(_Message, frozen=True, tag=True, array_like=True):
    """One run that is running, as `Welcome` lists it."""

    run_id: int
    started_usec: int | None


class Ended(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: the run has ended, is reaped and is in the journal."""

    run_id: int
    receipt: Receipt


class Welcome(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server, first message: the runner's identity, and the runs that it knows.

    `instance` is different after each start of the runner. `digest` is that of the loaded
    configuration; it is empty, with `errors`, if none is loaded. `notes` name guarantees that are
    weaker on this machine. `unusable` are the hooks that cannot be started now, with the reason.
    `version` is that of the runner's code, None before 0.2. `faults` is the number of its faults
    since its start. `more`: another Welcome follows with more of `running` and `ended`, because
    one frame does not hold them all.
    """

    instance: str
    digest: str
    errors: list[str]
    notes: list[str]
    running: list[Running]
    ended: list[Ended]
    version: str | None = None
    faults: int = 0
    more: bool = False
    unusable: dict[str, str] = {}


class RunnerFaults(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: the number of its faults since its start."""

    count: int


class Reloaded(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: the outcome of a `Reload`; if there are errors, the old digest stays.

    `held`: this configuration is not in force yet, see `Reload.hold`.
    """

    digest: str
    errors: list[str]
    notes: list[str]
    unusable: dict[str, str] = {}
    held: bool = False


class Usability(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: the reason why this hook cannot be started now; None: it can again."""

    hook: str
    reason: str | None


class Started(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: the program of this run has been started."""

    run_id: int
    started_usec: int


class Printed(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: a line that the hook of a test printed; others go only to the journal."""

    run_id: int
    stream: str
    text: str


class Ask(_Message, frozen=True, tag=True, array_like=True):
    """Server to runner: asks to which run a process belongs. Answered by `Belongs`."""

    pid: int


class Belongs(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: the run to which the process belongs; None if it belongs to none."""

    pid: int
    run_id: int | None


Message = (
    Start
    | Cancel
    | Settled
    | Reload
    | List
    | Adopt
    | Welcome
    | RunnerFaults
    | Reloaded
    | Usability
    | Started
    | Printed
    | Ended
    | Ask
    | Belongs
)  # Running occurs only inside Welcome

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Message])
_LENGTH = struct.Struct(">I")
_COUNT = struct.Struct(">H")
_MOST = 0xFFFF  # messages in a frame: the maximum length of an array 16


def encode(messages: list[Message]) -> bytes:
    """Return one frame with these messages."""
    body = _encoder.encode(messages)
    return _LENGTH.pack(len(body)) + body


def encode_all(
    messages: Iterable[Message], failed: Callable[[Message, Exception], None]
) -> Iterator[bytes]:
    """Return frames with these messages, none much larger than FULL_FRAME.

    `failed` is called with a message that cannot be encoded, which is left out.
    """
    bodies: list[bytes] = []
    size = 0
    for message in messages:
        try:
            body = _encoder.encode(message)
        except Exception as e:  # such as a lone surrogate; the other messages are sent
            failed(message, e)
            continue
        if bodies and (size + len(body) > FULL_FRAME or len(bodies) >= _MOST):
            yield _frame(bodies, size)
            bodies, size = [], 0
        bodies.append(body)
        size += len(body)
    if bodies:
        yield _frame(bodies, size)


def _frame(bodies: list[bytes], size: int) -> bytes:
    """Return a frame of encoded messages: the length, the header of an array 16, the messages."""
    head = b"\xdc" + _COUNT.pack(len(bodies))
    return b"".join((_LENGTH.pack(len(head) + size), head, *bodies))


class FrameReader:
    """Decodes a stream of bytes to messages; keeps an incomplete frame.

    `feed` raises ValueError (msgspec's errors are subclasses) if the other side does not follow
    the protocol; the link can then no longer be used.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> list[Message]:
        """Add received bytes; return every message that is now complete."""
        self._buffer += data
        messages: list[Message] = []
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes; the largest allowed is {MAX_FRAME}")
            end = at + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            try:
                messages += _decoder.decode(memoryview(self._buffer)[at + _LENGTH.size : end])
            except RecursionError:
                raise ValueError("a message nested too deeply") from None
            at = end
        if at:
            del self._buffer[:at]
        return messages
