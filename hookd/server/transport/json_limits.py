# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a message may look like beyond being JSON: how deep, of how many parts, no name twice.

Pure, and cheap: a usual message takes two microseconds, none more than some milliseconds.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_NESTING = 16
"""Objects and arrays inside one another: a call needs three, what else is in it is passed over."""

MAX_PARTS = 1000
"""Members of objects and elements of arrays, all together: 100 attributes and the rest are 150."""

SHORT = 16 * 1024
"""Bytes of a message in which so many parts cost nobody time that they are not counted."""


def check_shape(message: bytes) -> None:
    """Raise ValueError where valid JSON is nested too deep, has too many parts or a name twice."""
    _check_parts(message)
    _names_decoder.decode(message.decode())


def _check_parts(message: bytes) -> None:
    if len(message) <= SHORT and message.count(b"{") + message.count(b"[") <= MAX_NESTING:
        return
    # Of each string's two quotes at least the first is counted; a part is two strings at most.
    quotes = message.count(b'"') - message.count(b'\\"')
    rest = _STRING.sub(b"", message) if quotes <= 4 * MAX_PARTS + 2 else b"," * (MAX_PARTS + 1)
    rest = rest.translate(_BRACKETS, _NO_MARKS)
    if len(message) > SHORT and rest.count(b",") + rest.count(b"[") > MAX_PARTS:
        raise ValueError(f"it has more than {MAX_PARTS} parts")
    brackets = rest.replace(b",", b"")
    for _ in range(MAX_NESTING):  # each time, the innermost go
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise ValueError(f"nested deeper than {MAX_NESTING}")


_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_MARKS = bytes(set(range(256)) - set(b"[]{},"))


def _check_names(members: list[tuple[str, Any]]) -> None:
    """Raise ValueError where an object has a name twice.

    Of two values one reader would take the first and another the last (RFC 8259, 4): what somebody
    has looked at on the way must be what is done. msgspec does not see it, so json looks as well.
    """
    if len(dict(members)) < len(members):
        raise ValueError("an object has a name twice")


# Numbers are read as their length: of any size, and in no time.
_names_decoder = json.JSONDecoder(object_pairs_hook=_check_names, parse_int=len, parse_float=len)
