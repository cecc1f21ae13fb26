# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits of a JSON message: its depth, the number of its parts, and no name twice.

Pure. The check takes two microseconds for a usual message, some milliseconds at most.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_NESTING = 16
"""Levels of nested objects and arrays: a call needs three; unknown members are ignored."""

MAX_PARTS = 1000
"""Members of objects and elements of arrays in all: a call with 100 attributes has 150."""

SHORT = 16 * 1024
"""Bytes of a message up to which parts are not counted, because they take little time."""


def check_shape(message: bytes) -> None:
    """Raise ValueError if valid JSON is nested too deep, has too many parts or a name twice."""
    _check_parts(message)
    _names_decoder.decode(message.decode())


def _check_parts(message: bytes) -> None:
    if len(message) <= SHORT and message.count(b"{") + message.count(b"[") <= MAX_NESTING:
        return
    # At least the first quote of each string is counted; a part has two strings at most.
    quotes = message.count(b'"') - message.count(b'\\"')
    rest = _STRING.sub(b"", message) if quotes <= 4 * MAX_PARTS + 2 else b"," * (MAX_PARTS + 1)
    rest = rest.translate(_BRACKETS, _NO_MARKS)
    if len(message) > SHORT and rest.count(b",") + rest.count(b"[") > MAX_PARTS:
        raise ValueError(f"it has more than {MAX_PARTS} parts")
    brackets = rest.replace(b",", b"")
    for _ in range(MAX_NESTING):  # removes the innermost level
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise ValueError(f"nested deeper than {MAX_NESTING}")


_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_MARKS = bytes(set(range(256)) - set(b"[]{},"))


def _check_names(members: list[tuple[str, Any]]) -> None:
    """Raise ValueError if an object has a name twice.

    Of two values, one reader would use the first and another the last (RFC 8259, section 4): hookd
    must use the value that a filter before it has checked. msgspec does not detect this, so json
    parses the message too.
    """
    if len(dict(members)) < len(members):
        raise ValueError("an object has a name twice")


# A number is replaced by its length, so that its size costs no time.
_names_decoder = json.JSONDecoder(object_pairs_hook=_check_names, parse_int=len, parse_float=len)
