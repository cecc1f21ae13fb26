# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the server and the runner say to each other, and how it becomes bytes.

A frame is four bytes of length (big-endian) and a msgpack list of messages; what is ready at the
same moment shares a frame. A stream, not packets: one event may be larger than the largest packet
a socket buffer takes. The server names a hook and values, never a command. Pure.

The order of things: the runner opens with `Welcome`; `Start` is answered by `Started` (or `Ended`
at once, where nothing could be started) and in the end by `Ended`, which the runner repeats in
each `Welcome` until `Settled` says that it is on the server's disk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

import msgspec

from hookd.model import Event, Receipt

CHUNK = 64 * 1024  # bytes read at a time, into a buffer that is kept
MAX_FRAME = 8 * 1024 * 1024  # bytes; more is a broken peer: the largest event is a megabyte
FULL_FRAME = 1024 * 1024  # bytes of a frame to which no further message is added


class _Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What all messages share: a tag by which the other side knows them."""


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
    """Server to runner: read the configuration anew. Answered by `Reloaded`.

    `strict`: a hook that cannot run on this machine now is an error; else it is `unusable`, as at
    a start. `hold`: what was read is put aside until `Adopt`, so that runs go on starting under
    the one before, however long the looking takes.
    """

    strict: bool = True
    hold: bool = False


class Adopt(_Message, frozen=True, tag=True, array_like=True):
    """Server to runner: use the configuration of this digest, which was read and held."""

    digest: str


class List(_Message, frozen=True, tag=True, array_like=True):
    """Server to runner: say again what you have. Answered by another `Welcome`."""


class Running(_Message, frozen=True, tag=True, array_like=True):
    """One run that goes on, as `Welcome` lists it."""

    run_id: int
    started_usec: int | None


class Ended(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: the run is over, reaped and in the journal."""

    run_id: int
    receipt: Receipt


class Welcome(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server, first: who is there, what it knows of the past.

    `instance` differs from start to start of the runner; `digest` is that of the configuration it
    has loaded, empty with `errors` where it has none; `notes` are weaker promises worth saying;
    `unusable` are the hooks that could not be started now, each with the reason.
    `version` is that of its code, None where it does not say (before 0.2); `faults` counts the
    errors of its own since its start. `more`: another Welcome follows with more of `running` and
    `ended`, since one frame does not hold them all.
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
    """Runner to server: so many errors of its own since its start."""

    count: int


class Reloaded(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: the outcome of a `Reload`; with errors the old digest stays.

    `held`: this is not in force yet, see `Reload.hold`.
    """

    digest: str
    errors: list[str]
    notes: list[str]
    unusable: dict[str, str] = {}
    held: bool = False


class Usability(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: this hook cannot be started now, and why; None: it can again."""

    hook: str
    reason: str | None


class Started(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: the program of this run has been started."""

    run_id: int
    started_usec: int


class Printed(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: a line that a test's hook has printed; others go to the journal alone."""

    run_id: int
    stream: str
    text: str


class Ask(_Message, frozen=True, tag=True, array_like=True):
    """Server to runner: of which run is this process? Answered by `Belongs`."""

    pid: int


class Belongs(_Message, frozen=True, tag=True, array_like=True):
    """Runner to server: the process belongs to this run, to none where that is None."""

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
)  # Running only inside Welcome

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Message])
_LENGTH = struct.Struct(">I")
_COUNT = struct.Struct(">H")
_MOST = 0xFFFF  # messages in a frame: what an array 16 can have


def encode(messages: list[Message]) -> bytes:
    """Return one frame with these messages."""
    body = _encoder.encode(messages)
    return _LENGTH.pack(len(body)) + body


def encode_all(
    messages: Iterable[Message], failed: Callable[[Message, Exception], None]
) -> Iterator[bytes]:
    """Return frames with these messages, none of them much larger than FULL_FRAME.

    `failed` is told of a message that cannot be written down, in whose place there is nothing.
    """
    bodies: list[bytes] = []
    size = 0
    for message in messages:
        try:
            body = _encoder.encode(message)
        except Exception as e:  # such as a lone surrogate: not what the others must suffer for
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
    """Return a frame of messages that are encoded already: MessagePack's array 16, its lengths."""
    head = b"\xdc" + _COUNT.pack(len(bodies))
    return b"".join((_LENGTH.pack(len(head) + size), head, *bodies))


class FrameReader:
    """Bytes in, messages out; keeps what is not whole yet.

    `feed` raises ValueError (msgspec's errors are such) where the other side does not speak this
    language: the link is then of no more use.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> list[Message]:
        """Take what arrived; return every message that is complete by now."""
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
