# SPDX-License-Identifier: LGPL-2.1-or-later
"""Settings of the C library and of the garbage collector that keep a daemon's memory small.

Both processes run for months and are idle most of that time. This file does not decide which
modules a process loads: each file imports what it uses.
"""

from __future__ import annotations

import ctypes
import gc

M_MMAP_THRESHOLD = -3  # mallopt(3)
LARGE = 64 * 1024
"""A freed block of at least this many bytes is returned to the system. By default, the C library
raises this to the largest block that was ever freed (up to 32 MB), and smaller blocks leave holes
between small ones: after a hundred answers of one megabyte, a process kept thirty for good."""

_libc = ctypes.CDLL(None)


def return_large_blocks() -> None:
    """Have large blocks returned to the system when freed. Call this when a process starts."""
    _libc.mallopt(M_MMAP_THRESHOLD, LARGE)


def trim() -> None:
    """Return memory that only the start needed. Call this at the end of the start.

    The objects that exist then live as long as the process: the collector need not visit them.
    """
    gc.collect()
    gc.freeze()
    _libc.malloc_trim(0)
