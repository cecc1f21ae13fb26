# SPDX-License-Identifier: LGPL-2.1-or-later
"""The binary interfaces that Python needs: the launcher's packets, prctl(2), landlock(7).

`launch/launcher.h` describes the packets; a test compares the two. This module has no policy.
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

PROGRAM = Path(__file__).with_name("hookd-launcher")
"""The program of the zygote and the launchers. `packaging/build-launcher` compiles it in every way
of installing hookd."""

PACKETS = "1"
FORK = struct.Struct("=IIII")  # struct fork_order; the groups follow, an unsigned int each
FORKED = struct.Struct("=ii")  # struct fork_answer
RUN = struct.Struct("=IIII")  # struct run_order; the texts follow
REPORT = struct.Struct("=IIiiqqqq")  # struct report
NO_DIRECTORY, NOT_SPAWNED, STARTED, ENDED, EMPTY = range(5)
MAX_TEXTS = 65536  # bytes of texts in a packet
MAX_LARGE = 8 << 20  # bytes of texts in a memfd
MAX_FDS = 4

PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
SYS_LANDLOCK_CREATE_RULESET = 444
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_ABI_WITH_SCOPES = 6  # Linux 6.12

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Call prctl(2) with one value. Raises OSError."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def can_confine_signals() -> bool:
    """Return whether Landlock can keep a process from signalling processes outside its run."""
    abi = _libc.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    return bool(abi >= LANDLOCK_ABI_WITH_SCOPES)
