# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks whether a program may be run as a hook, and says in words why not.

Only root and the daemon's own user may be able to change the program or its interpreter
(`hookd.system.trust`). The program is checked before each run and then executed by its path, with
every symbolic link resolved. It is not executed by a descriptor, because the hook would inherit
that, and because the interpreter opens the script by its path in any case.
"""

from __future__ import annotations

import os
import stat

from hookd.config.files import Trail
from hookd.runner.launch import capabilities
from hookd.runner.launch.accounts import PATH, Account
from hookd.runner.run.invocation import HookSpec
from hookd.system.trust import (
    PathError,
    Steps,
    has_acl,
    kind_of,
    mode,
    printable,
    resolve,
    trusted_uids,
    unchanged,
)

HEAD = 256  # bytes of a program that execve(2) reads (BINPRM_BUF_SIZE)
MAX_INTERPRETERS = 5  # scripts in a chain of interpreters: execve(2) follows no more
PROGRAM_ALLOWED = "an executable program that only root and hookd's own user can change"


class Checker:
    """Checks programs before each run. If a path is unchanged, the last result is used again."""

    def __init__(self, trusted: frozenset[int]) -> None:
        self._trusted = trusted
        self._passed: dict[tuple[str, str], tuple[str, Steps]] = {}

    def check(self, path: str, search: str = PATH) -> str:
        """Return the path to execute: that of the same program with every symbolic link resolved.

        `search` is the PATH in which env(1) looks for the command of a `#!` line. Raises
        PathError.
        """
        real, steps = self._passed.get((path, search), ("", []))
        if not steps or not unchanged(steps):
            steps = []
            real = self._program(path, steps)
            interpreted = real
            for _ in range(MAX_INTERPRETERS):
                line = interpreter_of(interpreted)
                if line is None:
                    break
                interpreter, argument = line
                script, interpreted = (
                    interpreted,
                    self._interpreter(interpreted, interpreter, steps),
                )
                if os.path.basename(interpreter) == "env":
                    _look_for_command(script, argument, search)
            else:
                raise PathError(
                    f"{interpreted} is interpreted by more than {MAX_INTERPRETERS} scripts, one "
                    "after the other"
                )
            self._passed[path, search] = real, steps
        return real

    def _program(self, path: str, steps: Steps) -> str:
        real, info = resolve(path, self._trusted, steps)
        if not stat.S_ISREG(info.st_mode):
            raise PathError(f"{real} is a {kind_of(info)}")
        if not info.st_mode & 0o111:
            raise PathError(f"{real} is not executable (mode {mode(info)})")
        return real

    def _interpreter(self, path: str, interpreter: str, steps: Steps) -> str:
        """Return the real path of a program's interpreter, which must be trusted too."""
        if not interpreter.startswith("/"):
            raise PathError(f"{path} has the interpreter {interpreter}, a relative path")
        try:
            return self._program(interpreter, steps)
        except PathError as e:
            raise PathError(f"{path} has the interpreter {interpreter}: {e}") from None


def check(path: str, trusted: frozenset[int] | None = None) -> str:
    """Return the path to execute for a hook's program. Raises PathError."""
    return Checker(trusted_uids() if trusted is None else trusted).check(path)


def interpreter_of(path: str) -> tuple[str, str] | None:
    """Return the interpreter that a program's `#!` line names, and its argument ("" if none).

    Return None for a binary, and for a program that this process may not read. Raises PathError
    if execve(2) would refuse the program or misread its `#!` line.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
            flags = os.statvfs(file.fileno()).f_flag
    except PermissionError:
        return None  # a binary may be executable but not readable; execve(2) decides
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


def _first_line(path: str, head: bytes) -> tuple[str, str]:
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
    return os.fsdecode(words[0]), os.fsdecode(b"".join(words[1:]).strip())


def _look_for_command(script: str, argument: str, search: str) -> None:
    """Raise PathError if env(1) would not find the command of a `#!` line.

    The kernel passes the rest of the line as one argument, which env splits only with `-S`.
    """
    if argument.startswith(("-S", "-vS", "--split-string")):
        text = argument.partition("=" if argument.startswith("--") else "S")[2]
        command = _command(text.split())
    elif " " in argument and "/" not in argument.split()[0]:
        raise PathError(
            f"{script} has the interpreter env, which gets {argument!r} as one word (to have it "
            "split, write env -S)"
        )
    else:
        command = _command([argument] if argument else [])
    if command is None or "/" in command or not search:
        return  # env searches for nothing here, and reports an error itself
    for directory in search.split(":"):
        if os.access(os.path.join(directory or ".", command), os.X_OK):
            return
    raise PathError(
        f"{script} has the interpreter env {command}, and there is no {command} in {search}"
    )


def _command(words: list[str]) -> str | None:
    """Return env's first word that is neither an option nor a variable, None if there is none."""
    words = list(reversed(words))
    while words:
        word = words.pop()
        if word in ("-u", "--unset", "-C", "--chdir") and words:
            words.pop()
        elif not word.startswith("-") and "=" not in word:
            return word.strip("'\"")
    return None


def problems(checker: Checker, spec: HookSpec, account: Account | None, trail: Trail) -> list[str]:
    """Return the reasons why a hook cannot run on this machine now, each with its key."""
    hook, found = spec.hook, []
    trail.at(hook.command.program)
    try:
        real = checker.check(hook.command.program, spec.search)
        if account is not None:
            may_reach(real, account, "execute")
    except PathError as e:
        found.append(f"command: found {e}; allowed: {PROGRAM_ALLOWED}")
    directory = hook.run.working_directory
    trail.at(directory)
    try:
        if not stat.S_ISDIR((info := os.stat(directory)).st_mode):
            raise PathError(f"{directory} is a {kind_of(info)}")
        if account is not None:
            may_reach(os.path.realpath(directory), account, "enter")
    except OSError as e:
        found.append(
            f"run.working_directory: found {printable(directory)}: {e.strerror}; "
            "allowed: a directory that the hook's user may enter"
        )
    except PathError as e:
        found.append(
            f"run.working_directory: found {e}; "
            "allowed: a directory that the hook's user may enter"
        )
    return found + capabilities.problems(hook)


def may_reach(path: str, account: Account, act: str) -> None:
    """Raise PathError if a user may not `act` (execute or enter) on the file at a path.

    The mode bits of each step decide, see path_resolution(7). A step with an ACL (acl(5)) and
    the user root always pass: execve(2) decides there.
    """
    if account.uid == 0:
        return
    above = [path[:at] or "/" for at, letter in enumerate(path) if letter == "/"]
    for directory in above:
        _may(directory, account, "enter", 0o1)
    _may(path, account, act, 0o1)


def _may(path: str, account: Account, act: str, bits: int) -> None:
    try:
        info = os.stat(path)
    except OSError as e:
        raise PathError(f"{path} cannot be looked at: {e.strerror}") from None
    if info.st_uid == account.uid:
        granted = info.st_mode >> 6
    elif info.st_gid in (account.gid, *account.groups):
        granted = info.st_mode >> 3
    else:
        granted = info.st_mode
    if granted & bits != bits and not has_acl(path):
        raise PathError(f"user {account.name} may not {act} {path} (mode {mode(info)})")
