#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tries to get into those named: their descriptors, memory, by ptrace. Exit 0: it could not."""

import ctypes
import os
import sys

PTRACE_SEIZE = 0x4206
entered = 0
for victim in sys.argv[1:]:
    for name in ("mem", "environ", "fd", "map_files", "cwd"):
        try:
            path = f"/proc/{victim}/{name}"
            if name in ("fd", "map_files"):
                entered += len(os.listdir(path))
            else:
                os.close(os.open(path, os.O_RDWR if name == "mem" else os.O_RDONLY))
                entered += 1
        except OSError:
            continue
    for fd in range(32):
        try:
            os.close(os.open(f"/proc/{victim}/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK))
            entered += 1
        except OSError:
            continue
    if ctypes.CDLL(None).ptrace(PTRACE_SEIZE, int(victim), 0, 0) == 0:
        entered += 1
sys.exit(min(entered, 99))
