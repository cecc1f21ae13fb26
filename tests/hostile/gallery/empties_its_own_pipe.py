#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Opens the reading end of its own stdout and takes what it wrote out again, all the time."""

import contextlib
import os
import time

reader = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
deadline = time.monotonic() + 0.5
while time.monotonic() < deadline:
    os.write(1, b"now you see it\n")
    with contextlib.suppress(BlockingIOError):
        os.read(reader, 65536)
