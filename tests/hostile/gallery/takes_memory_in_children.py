#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Touches 20 MB in each of ten children: none is beyond the limit, all together are."""

import os
import time

for _ in range(10):
    if os.fork() == 0:
        hoard = b"x" * (20 << 20)
        time.sleep(60)
        os._exit(len(hoard) % 1)
os.wait()
