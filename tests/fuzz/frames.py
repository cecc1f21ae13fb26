# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever the bytes: messages between the two processes, or a ValueError; else nothing.

How they were cut into pieces changes nothing, and what was understood can be said again.
"""

from __future__ import annotations

import struct
from typing import get_args

from hookd.link import FrameReader, Message, encode


def check(data: bytes) -> None:
    """Read the bytes as a stream, and as the content of one frame; the first one is the cut."""
    cut, stream = (data[:1] or b"\0")[0], data[1:]
    for frames in (stream, struct.pack(">I", len(stream)) + stream):
        whole = _read(frames)
        assert whole == _read(frames[:cut], frames[cut:])
        if whole:
            assert {type(message) for message in whole} <= set(get_args(Message))
            assert _read(encode(whole)) == whole


def _read(*pieces: bytes) -> list[Message] | None:
    reader = FrameReader()
    found = []
    try:
        for piece in pieces:
            found += reader.feed(piece)
    except ValueError:
        return None
    return found
