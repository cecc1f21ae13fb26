# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a daemon keeps its memory small: what the C library and the collector are told.

Both processes live for months and are idle most of that time. What modules a process loads is not
decided here: each file imports what it uses.
"""

from __future__ import annotations

import ctypes
import gc

M_MMAP_THRESHOLD = -3  # mallopt(3)
LARGE = 64 * 1024
"""Bytes of a block that goes back to the system when it is free. Left alone, the C library raises
this to the largest block that was ever freed (up to 32 MB), and whatever is smaller leaves holes
between small blocks: after a hundred answers of a megabyte a process kept thirty for good."""

_libc = ctypes.CDLL(None)


def return_large_blocks() -> None:
    """Call this at the start of a process: a large block returns to the system when it is free."""
    _libc.mallopt(M_MMAP_THRESHOLD, LARGE)


def trim() -> None:
    """Call this when a start is over: give back what only the start needed.

    What lives by now lives as long as the process: the collector need not look at it again.
    """
    gc.collect()
    gc.freeze()
    _libc.malloc_trim(0)
