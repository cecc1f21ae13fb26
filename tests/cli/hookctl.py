# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs hookctl: the one that is installed beside this Python, or its `main` here."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hookd.cli.main import main

HOOKCTL = str(Path(sys.executable).with_name("hookctl"))


def hookctl(*arguments: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run hookctl with these arguments and no input; return its status and outputs."""
    command = [HOOKCTL, *map(str, arguments)]
    how.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **how)


def called(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Call hookctl's `main` in this process: where what it says matters, not that it starts."""
    words = [str(argument) for argument in arguments]
    out, error = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        pytest.raises(SystemExit) as exit_,
    ):
        main(words)
    assert isinstance(exit_.value.code, int)
    return subprocess.CompletedProcess(words, exit_.value.code, out.getvalue(), error.getvalue())
