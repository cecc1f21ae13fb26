# SPDX-License-Identifier: LGPL-2.1-or-later
"""Import this first in a daemon: it keeps out of memory what no daemon of ours needs.

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
    ctypes.CDLL(None).malloc_trim(0)
