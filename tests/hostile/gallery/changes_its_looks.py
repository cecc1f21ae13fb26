#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leaves a process with another name, session, directory and environment."""

import ctypes
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/tmp")
        ctypes.CDLL(None).prctl(15, b"kworker/0:1", 0, 0, 0)  # PR_SET_NAME
        os.closerange(0, 3)
        time.sleep(60)
    os._exit(0)
os.wait()
