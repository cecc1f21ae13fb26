# SPDX-License-Identifier: LGPL-2.1-or-later
"""Converts between bytes and messages: the envelope of Varlink (https://varlink.org).

Pure. This file does not know the methods. Any bytes give either a `Call` or a ProtocolError, and
nothing else.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hookd.errors import HookdError, ProtocolError
from hookd.server.transport.json_limits import check_shape

MAX_MESSAGE = 1024 * 1024
"""Bytes of one message without its NUL: several times the longest fields of a call."""


class Call(msgspec.Struct, frozen=True):
    """The envelope of a call. Unknown keys in it are ignored, as the specification requires."""

    method: str
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    more: bool | None = None
    oneway: bool | None = None
    upgrade: bool | None = None


class CallReader:
    """Splits a stream of bytes into messages. It never holds more than one oversized message."""

    __slots__ = ("_buffer", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # bytes known to contain no NUL, which are not searched again

    @property
    def unfinished(self) -> bool:
        """Whether a part of a message has arrived."""
        return bool(self._buffer)

    @property
    def held(self) -> int:
        """The number of bytes that are buffered."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray) -> None:
        """Add received bytes."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next message without its NUL, or None if it is not complete.

        Raises ProtocolError if a message is longer than MAX_MESSAGE.
        """
        end = self._buffer.find(0, self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
        if (end if end >= 0 else len(self._buffer)) > MAX_MESSAGE:
            raise ProtocolError(f"a message is longer than {MAX_MESSAGE} bytes")
        if end < 0:
            return None
        message = bytes(memoryview(self._buffer)[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return message


_call_decoder = msgspec.json.Decoder(Call)
_encoder = msgspec.json.Encoder()


def decode_call(message: bytes) -> Call:
    """Return the call in a message. Raises ProtocolError, after which the connection is closed."""
    try:
        call = _call_decoder.decode(message)
        check_shape(message)
    except (ValueError, RecursionError) as e:
        raise ProtocolError(f"not a Varlink call: {e}") from None
    if call.oneway and call.more:
        raise ProtocolError("not a Varlink call: oneway and more exclude each other")
    return call


def encode_reply(parameters: Any, continues: bool = False) -> bytes:
    """Return a reply as bytes with its NUL. `continues` says that more replies follow."""
    reply = (
        {"parameters": parameters, "continues": True} if continues else {"parameters": parameters}
    )
    return _encoder.encode(reply) + b"\0"


def encode_error(error: HookdError) -> bytes:
    """Return an error as bytes with its NUL."""
    return _encoder.encode({"error": error.code, "parameters": error.parameters()}) + b"\0"
