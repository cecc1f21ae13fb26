#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leaves processes that hop: each forks, takes a session of its own and dies, every 1.5 ms.

Arguments: how many at a time; "orphaned" where the launcher is killed first.
"""

import os
import signal
import sys
import time

many, how = sys.argv[1:]


def hop() -> None:
    """Never be the same process for long."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if os.fork():
            os._exit(0)
        os.setsid()
        time.sleep(0.0015)


for _ in range(int(many)):
    if not os.fork():
        hop()
        os._exit(0)
if how == "orphaned":
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
