# SPDX-License-Identifier: LGPL-2.1-or-later
"""Times on the command line."""

from __future__ import annotations

import time
from datetime import datetime

import click

from hookd.config import options


def past(value: str) -> int:
    """Return a time as microseconds since 1970.

    It is written `2026-01-31`, `"2026-01-31 18:00"`, or `2h` for two hours ago.
    """
    try:
        return int(datetime.fromisoformat(value).timestamp() * 1_000_000)
    except ValueError:
        pass
    try:
        ago = options.time().parse(value)
    except ValueError:
        allowed = '2026-01-31, "2026-01-31 18:00", or 2h for two hours ago'
        raise click.BadParameter(f"must be a time such as {allowed}, not {value!r}") from None
    return int((time.time() - ago) * 1_000_000)
