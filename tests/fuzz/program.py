# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever a program begins with: the path to execute, or a PathError that can be sent.

What is passed has an interpreter that is trusted too, or is a binary.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hookd.runner import hookfile
from hookd.trust import PathError

_directory = tempfile.TemporaryDirectory(prefix="hookd-fuzz-")
PROGRAM = Path(_directory.name).resolve() / "program"
PROGRAM.touch(0o755)


def check(data: bytes) -> None:
    """Have the bytes be a program's."""
    PROGRAM.write_bytes(data[: 2 * hookfile.HEAD])
    try:
        assert hookfile.check(str(PROGRAM)) == str(PROGRAM)
    except PathError as e:
        assert str(e).encode()
        return
    interpreter = hookfile.interpreter_of(str(PROGRAM))
    if interpreter is None:
        assert data.startswith(b"\x7fELF")
    else:
        assert data.startswith(b"#!") and hookfile.check(interpreter)
