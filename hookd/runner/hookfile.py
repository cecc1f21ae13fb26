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
from hookd.trust import PathError, kind_of, mode, resolve, trusted_uids

HEAD = 256  # bytes of a program that execve(2) looks at (BINPRM_BUF_SIZE)
MAX_INTERPRETERS = 5  # scripts that interpret one another: execve(2) follows no more
PROGRAM_ALLOWED = "an executable program that only root and hookd's own user can change"


class Checker:
    """Checks programs before each run; remembers what it has read of those that are unchanged."""

    def __init__(self, trusted: frozenset[int]) -> None:
        self._trusted = trusted
        self._read: dict[str, tuple[tuple[int, int, int], str | None]] = {}

    def check(self, path: str) -> str:
        """Return the path to execute: the same program with every link resolved.

        Raises PathError.
        """
        real, info = resolve(path, self._trusted)
        if not stat.S_ISREG(info.st_mode):
            raise PathError(f"{real} is a {kind_of(info)}")
        if not info.st_mode & 0o111:
            raise PathError(f"{real} is not executable (mode {mode(info)})")
        self._check_interpreters(real, info)
        return real

    def _check_interpreters(self, path: str, info: os.stat_result) -> None:
        """See that what executes the program, and what executes that, is to be trusted too."""
        for _ in range(MAX_INTERPRETERS):
            interpreter = self._interpreter(path, info)
            if interpreter is None:
                return
            if not interpreter.startswith("/"):
                raise PathError(f"{path} has the interpreter {interpreter}, a relative path")
            try:
                real, info = resolve(interpreter, self._trusted)
            except PathError as e:
                raise PathError(f"{path} has the interpreter {interpreter}: {e}") from None
            if not stat.S_ISREG(info.st_mode):
                raise PathError(f"{path} has the interpreter {interpreter}, a {kind_of(info)}")
            if not info.st_mode & 0o111:
                raise PathError(
                    f"{path} has the interpreter {interpreter}, which is not executable"
                )
            path = real
        raise PathError(
            f"{path} is interpreted by more than {MAX_INTERPRETERS} scripts, one after the other"
        )

    def _interpreter(self, path: str, info: os.stat_result) -> str | None:
        # The change time cannot be set back: the same one means the same content.
        identity = (info.st_dev, info.st_ino, info.st_ctime_ns)
        known = self._read.get(path)
        if known is None or known[0] != identity:
            known = self._read[path] = (identity, interpreter_of(path))
        return known[1]


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
