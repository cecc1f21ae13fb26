# SPDX-License-Identifier: LGPL-2.1-or-later
"""`bare.py PROGRAM FIFO COUNT INTERVAL`: start a program again and again, and say when.

A process of its own, small because nothing of hookd is imported: what fork and exec cost without
anything around them. Prints the nanosecond of CLOCK_MONOTONIC before each start.
"""

import os
import sys
import time

program, fifo, count, interval = sys.argv[1:]
sent, due = [], time.monotonic()
for number in range(int(count)):
    due += float(interval)
    time.sleep(max(0.0, due - time.monotonic()))
    argv = [program, fifo, str(number)]
    sent.append(time.monotonic_ns())
    pid = os.posix_spawn(program, argv, {})
    os.waitpid(pid, 0)
print(*sent)
