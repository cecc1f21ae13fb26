#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Has 200 children that are dead and not waited for when it ends."""

import os
import time
from pathlib import Path

children = [os.fork() or os._exit(0) for _ in range(200)]
for pid in children:
    while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
