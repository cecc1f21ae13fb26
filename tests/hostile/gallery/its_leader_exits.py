#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Has a process whose first thread exits while another works on: /proc/PID/stat says Z.

Arguments: "main" (it is the main process) or "leftover"; the megabytes that the thread takes.
"""

import ctypes
import os
import sys
import threading
import time

EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]  # _exit(2) ends all threads, this one

which, megabytes = sys.argv[1:]
ready, done = os.pipe()


def work() -> None:
    """Live for a minute, in some memory."""
    held = [b"x" * (1 << 20) for _ in range(int(megabytes))]
    os.write(done, b"1")
    time.sleep(60)
    del held


if which == "leftover" and os.fork():
    os.read(ready, 1)
    os._exit(0)
threading.Thread(target=work).start()
ctypes.CDLL(None).syscall(EXIT, 0)
