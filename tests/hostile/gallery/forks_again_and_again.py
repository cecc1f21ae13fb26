#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leaves a process that every 10 ms forks another one and dies."""

import os
import time

if os.fork():
    os._exit(0)
os.setsid()
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    time.sleep(0.01)
    if os.fork():
        os._exit(0)
