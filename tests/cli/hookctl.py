# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the hookctl that is installed beside this Python, as a shell would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

HOOKCTL = str(Path(sys.executable).with_name("hookctl"))


def hookctl(*arguments: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run hookctl with these arguments and no input; return its status and outputs."""
    command = [HOOKCTL, *map(str, arguments)]
    how.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **how)
