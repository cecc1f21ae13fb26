# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a program may be run as a hook, and if not, why not, in words.

It must be one that nobody but root and the daemon's own user can change (`hookd.trust`), and so
must be its interpreter. It is looked at before each run and then executed by its path, with every
link resolved: a descriptor would be one more thing that the hook inherits, and the interpreter
opens the script by its path in any case.
"""

from __future__ import annotations

import os
import stat

from hookd.config import Config
from hookd.trust import PathError, Steps, kind_of, mode, resolve, trusted_uids, unchanged

HEAD = 256  # bytes of a program that execve(2) looks at (BINPRM_BUF_SIZE)
MAX_INTERPRETERS = 5  # scripts that interpret one another: execve(2) follows no more
PROGRAM_ALLOWED = "an executable program that only root and hookd's own user can change"


class Checker:
    """Checks programs before each run; one whose path leads where it led needs only a look."""

    def __init__(self, trusted: frozenset[int]) -> None:
        self._trusted = trusted
        self._passed: dict[str, tuple[str, Steps]] = {}

    def check(self, path: str) -> str:
        """Return the path to execute: the same program with every link resolved.

        Raises PathError.
        """
        real, steps = self._passed.get(path, ("", []))
        if not steps or not unchanged(steps):
            steps = []
            real = self._program(path, steps)
            interpreted = real
            for _ in range(MAX_INTERPRETERS):
                interpreter = interpreter_of(interpreted)
                if interpreter is None:
                    break
                interpreted = self._interpreter(interpreted, interpreter, steps)
            else:
                raise PathError(
                    f"{interpreted} is interpreted by more than {MAX_INTERPRETERS} scripts, one "
                    "after the other"
                )
            self._passed[path] = real, steps
        return real

    def _program(self, path: str, steps: Steps) -> str:
        real, info = resolve(path, self._trusted, steps)
        if not stat.S_ISREG(info.st_mode):
            raise PathError(f"{real} is a {kind_of(info)}")
        if not info.st_mode & 0o111:
            raise PathError(f"{real} is not executable (mode {mode(info)})")
        return real

    def _interpreter(self, path: str, interpreter: str, steps: Steps) -> str:
        """Return the real path of what executes a program: it is to be trusted too."""
        if not interpreter.startswith("/"):
            raise PathError(f"{path} has the interpreter {interpreter}, a relative path")
        try:
            return self._program(interpreter, steps)
        except PathError as e:
            raise PathError(f"{path} has the interpreter {interpreter}: {e}") from None


def check(path: str, trusted: frozenset[int] | None = None) -> str:
    """Return the path to execute for a hook's program. Raises PathError."""
    return Checker(trusted_uids() if trusted is None else trusted).check(path)


def interpreter_of(path: str) -> str | None:
    """Return the interpreter that a program's `#!` line names, None for a binary.

    Raises PathError where execve(2) would refuse the program, or misunderstand it.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
            flags = os.statvfs(file.fileno()).f_flag
    except PermissionError:
        return None  # a binary may be executable and not readable; execve itself will tell
    except OSError as e:
        raise PathError(f"{path} cannot be read: {e.strerror}") from None
    if flags & os.ST_NOEXEC:
        raise PathError(f"{path} lies on a file system that is mounted noexec")
    if head.startswith(b"#!"):
        return _first_line(path, head)
    if not head:
        raise PathError(f"{path} is empty: no program, and no #! line")
    if not head.startswith(b"\x7fELF"):
        raise PathError(
            f"{path} is no program: it begins neither with a #! line nor as an ELF binary"
        )
    return None


def _first_line(path: str, head: bytes) -> str:
    line = head[2:].partition(b"\n")[0]
    if line.endswith(b"\r"):
        raise PathError(
            f"{path} has a #! line that ends in CRLF, as Windows editors write it; "
            "convert the file to Unix line ends"
        )
    if b"\0" in line:
        raise PathError(f"{path} has a #! line with a NUL in it")
    words = line.split(None, 1)
    if not words:
        raise PathError(f"{path} has a #! line without an interpreter")
    return os.fsdecode(words[0])


def problems(config: Config, trusted: frozenset[int] | None = None) -> list[str]:
    """Return an error line for each hook whose program may not be run."""
    checker = Checker(trusted_uids() if trusted is None else trusted)
    found = []
    for hook in config.hooks.values():
        try:
            checker.check(hook.command.program)
        except PathError as e:
            found.append(f"{hook.path}: command: found {e}; allowed: {PROGRAM_ALLOWED}")
    return found
