# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever a program begins with: the path to execute, or a PathError that can be sent.

What is passed has an interpreter that is trusted too, or is a binary.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hookd.runner.run import program_check
from hookd.system.trust import PathError


def check(data: bytes) -> None:
    """Have the bytes be a program's."""
    with tempfile.TemporaryDirectory(prefix="hookd-fuzz-") as directory:
        program = Path(directory).resolve() / "program"
        program.touch(0o755)
        program.write_bytes(data[: 2 * program_check.HEAD])
        _look_at(str(program), data)


def _look_at(program: str, data: bytes) -> None:
    try:
        assert program_check.check(program) == program
    except PathError as e:
        assert str(e).encode()
        return
    line = program_check.interpreter_of(program)
    if line is None:
        assert data.startswith(b"\x7fELF")
    else:
        assert data.startswith(b"#!") and program_check.check(line[0])
