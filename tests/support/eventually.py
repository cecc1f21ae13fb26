# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one way a test waits for what announces itself by nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def eventually(look: Callable[[], _T], within: float = 10.0) -> _T:
    """Return what `look` returns as soon as that is true; fail after so many seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within} s; at last: {found!r}"
        time.sleep(0.01)
    return found
