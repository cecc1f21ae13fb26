# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds damage in SQLite's write-ahead log. SQLite itself silently stops at the damage.

The format is described in https://www.sqlite.org/fileformat2.html#walformat. Only reads.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

HEADER, FRAME = 32, 24  # bytes
LOOK_SEC = 2.0  # at most, so that a start does not take long
_MAGIC = 0x377F0682  # plus one if the words of the checksums are big-endian


def damage(path: Path) -> str | None:
    """Return a text if committed frames follow a damaged one; None if none do.

    Damage only to the last transaction is not reported: a power cut may cause it, and the
    transaction was never acknowledged.
    Also returns None if the log is too long to be checked in LOOK_SEC. Raises OSError.
    """
    try:
        log = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(log) < HEADER:
        return None
    magic, _, size, _, *_ = struct.unpack(">4I", log[:16])
    if magic & ~1 != _MAGIC or size < 512:
        return None
    order, salts = ">" if magic & 1 else "<", log[16:24]
    sums = _checksum(log[:24], order, (0, 0))
    until, frames = time.monotonic() + LOOK_SEC, (len(log) - HEADER) // (FRAME + size)
    for number in range(frames):
        at = HEADER + number * (FRAME + size)
        head = log[at : at + FRAME]
        sums = _checksum(head[:8], order, sums)
        sums = _checksum(log[at + FRAME : at + FRAME + size], order, sums)
        if head[8:16] != salts or struct.unpack(">2I", head[16:24]) != sums:
            behind = _commits(log, at, size, salts)
            lost = f"and {behind} transactions from there on are lost"
            return f"{path}: frame {number + 1} is damaged, {lost}" if behind > 1 else None
        if time.monotonic() > until:
            return None
    return None


def _commits(log: bytes, at: int, size: int, salts: bytes) -> int:
    """Return the number of transactions of this log that end in the frames from `at` on."""
    heads = (log[start : start + FRAME] for start in range(at, len(log) - size, FRAME + size))
    return sum(head[8:16] == salts and head[4:8] != bytes(4) for head in heads)


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even, odd in zip(words, words, strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
