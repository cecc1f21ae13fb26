# SPDX-License-Identifier: LGPL-2.1-or-later
"""Import this first in a daemon: what no daemon of ours needs stays out of memory, or leaves it.

asyncio loads `ssl` where there is one, and hashlib OpenSSL's digests: five megabytes for each
process, and hookd speaks no TLS. Both do without: a None in `sys.modules` means "not there" (see
importlib). Never for the client library: its programs may want TLS.
"""

from __future__ import annotations

import sys

for _name in ("ssl", "_hashlib"):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]

import ctypes  # noqa: E402
import gc  # noqa: E402

M_MMAP_THRESHOLD = -3  # mallopt(3)
LARGE = 64 * 1024
"""Bytes of a block that goes back to the system when it is free. Left alone, the C library raises
this to the largest block that was ever freed (up to 32 MB), and whatever is smaller leaves holes
between small blocks: after a hundred answers of a megabyte a process kept thirty for good."""

_libc = ctypes.CDLL(None)
_libc.mallopt(M_MMAP_THRESHOLD, LARGE)


def let_in(name: str) -> None:
    """Call this before what needs one of those after all."""
    if sys.modules.get(name, name) is None:
        del sys.modules[name]


def trim() -> None:
    """Call this when a start is over: give back what only the start needed.

    What lives by now lives as long as the process: the collector need not look at it again.
    """
    gc.collect()
    gc.freeze()
    _libc.malloc_trim(0)
