#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Allocates 1 GB and touches each page of it."""

import time

hoard = []
for _ in range(1024):
    hoard.append(b"x" * (1 << 20))
time.sleep(60)
