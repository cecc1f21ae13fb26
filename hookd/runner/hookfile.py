# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a program may be run as a hook, and if not, why not, in words.

The chain of trust: a program, every directory above it and every symbolic link on the way must
belong to root or the daemon's own user and be writable by nobody else; so nobody else can change
what runs, and what was checked is what is executed. ACLs need no look of their own: the mask that
bounds them is what the group's mode bits show (acl(5)).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from hookd.config import Config
from hookd.runner.accounts import group_name, user_name

MAX_LINKS = 40  # symbolic links in one path: the kernel's own limit, see path_resolution(7)
HEAD = 256  # bytes of a program that execve(2) looks at (BINPRM_BUF_SIZE)
PROGRAM_ALLOWED = "an executable program that only root and hookd's own user can change"
FILE_ALLOWED = "a file that only root and hookd's own user can change"


class HookFileError(Exception):
    """A file that may not be used; the text says what was found."""


def trusted_uids() -> frozenset[int]:
    """Return who may own a hook: root and the user that this process is.

    And the owner of `/`, whom there is no way not to trust. That is root, but in a user namespace
    that does not map root it is the overflow user, as whom root's files appear there.
    """
    return frozenset((0, os.geteuid(), os.stat("/").st_uid))


class Checker:
    """Checks programs before each run; remembers what it has read of those that are unchanged."""

    def __init__(self, trusted: frozenset[int]) -> None:
        self._trusted = trusted
        self._read: dict[str, tuple[int, int, int]] = {}

    def check(self, path: str) -> str:
        """Return the path to execute: the same program with every link resolved.

        Raises HookFileError.
        """
        real, info = resolve(path, self._trusted)
        if not stat.S_ISREG(info.st_mode):
            raise HookFileError(f"{real} is a {kind_of(info)}")
        if not info.st_mode & 0o111:
            raise HookFileError(f"{real} is not executable (mode {mode(info)})")
        # The change time cannot be set back: the same one means the same content.
        identity = (info.st_dev, info.st_ino, info.st_ctime_ns)
        if self._read.get(real) != identity:
            check_content(real, self._trusted)
            self._read[real] = identity
        return real


def check(path: str, trusted: frozenset[int] | None = None) -> str:
    """Return the path to execute for a hook's program. Raises HookFileError."""
    return Checker(trusted_uids() if trusted is None else trusted).check(path)


def resolve(path: str, trusted: frozenset[int]) -> tuple[str, os.stat_result]:
    """Follow a path step by step; return the real one and what stands there.

    Raises HookFileError where a step is missing or somebody not trusted could change it.
    """
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    at, info = "", look("/", path)
    check_owner("/", info, None, trusted)
    links = 0
    above: list[tuple[str, os.stat_result]] = []
    while todo:
        name = todo.pop()
        if name == "..":
            at, info = above.pop() if above else ("", look("/", path))
            continue
        if not stat.S_ISDIR(info.st_mode):
            raise HookFileError(f"{at} is a {kind_of(info)}, not a directory")
        entry = f"{at}/{name}"
        found = look(entry, path)
        check_owner(entry, found, info, trusted)
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > MAX_LINKS:
                raise HookFileError(f"{path} has too many symbolic links, or a ring of them")
            target = os.readlink(entry)
            if target.startswith("/"):
                at, info = "", os.lstat("/")
                above.clear()
            todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
            continue
        above.append((at, info))
        at, info = entry, found
    return at or "/", info


def look(entry: str, path: str) -> os.stat_result:
    """Return what stands at one step of a path. Raises HookFileError, in words."""
    try:
        return os.lstat(entry)
    except FileNotFoundError:
        if entry == path:
            raise HookFileError(f"{path} does not exist") from None
        if Path(path).is_symlink():
            raise HookFileError(
                f"{path} is a symbolic link to {entry}, which does not exist"
            ) from None
        raise HookFileError(f"{path} does not exist: there is no {entry}") from None
    except OSError as e:
        raise HookFileError(f"{entry} cannot be looked at: {e.strerror}") from None


def check_owner(
    entry: str, info: os.stat_result, above: os.stat_result | None, trusted: frozenset[int]
) -> None:
    """Raise HookFileError where somebody not trusted could change this entry.

    A directory writable by others is safe when it is sticky: only the owners of an entry and of
    the directory can then rename or remove the entry (inode(7)), and both are checked.
    """
    if info.st_uid not in trusted:
        owner = user_name(info.st_uid)
        raise HookFileError(f"{entry} belongs to user {owner}, who could change it")
    if stat.S_ISLNK(info.st_mode):
        return  # a link's own mode means nothing
    sticky_directory = stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX
    if info.st_mode & 0o022 and not sticky_directory:
        who = "everybody" if info.st_mode & 0o002 else f"group {group_name(info.st_gid)}"
        raise HookFileError(f"{entry} is writable by {who} (mode {mode(info)})")


def check_content(path: str, trusted: frozenset[int]) -> None:
    """Raise HookFileError where execve(2) would refuse a program, or misunderstand it."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
            flags = os.statvfs(file.fileno()).f_flag
    except PermissionError:
        return  # a binary may be executable and not readable; execve itself will tell
    except OSError as e:
        raise HookFileError(f"{path} cannot be read: {e.strerror}") from None
    if flags & os.ST_NOEXEC:
        raise HookFileError(f"{path} lies on a file system that is mounted noexec")
    if head.startswith(b"#!"):
        check_interpreter(path, head, trusted)
    elif not head:
        raise HookFileError(f"{path} is empty: no program, and no #! line")
    elif not head.startswith(b"\x7fELF"):
        raise HookFileError(
            f"{path} is no program: it begins neither with a #! line nor as an ELF binary"
        )


def check_interpreter(path: str, head: bytes, trusted: frozenset[int]) -> None:
    """Raise HookFileError where the interpreter that a `#!` line names may not be run."""
    line = head[2:].partition(b"\n")[0]
    if line.endswith(b"\r"):
        raise HookFileError(
            f"{path} has a #! line that ends in CRLF, as Windows editors write it; "
            "convert the file to Unix line ends"
        )
    words = line.split(None, 1)
    if not words:
        raise HookFileError(f"{path} has a #! line without an interpreter")
    interpreter = os.fsdecode(words[0])
    try:
        info = resolve(interpreter, trusted)[1]
    except HookFileError as e:
        raise HookFileError(f"{path} has the interpreter {interpreter}: {e}") from None
    if not stat.S_ISREG(info.st_mode):
        raise HookFileError(f"{path} has the interpreter {interpreter}, a {kind_of(info)}")
    if not info.st_mode & 0o111:
        raise HookFileError(f"{path} has the interpreter {interpreter}, which is not executable")


def problems(config: Config, trusted: frozenset[int] | None = None) -> list[str]:
    """Return an error line for each hook whose program may not be run."""
    checker = Checker(trusted_uids() if trusted is None else trusted)
    found = []
    for hook in config.hooks.values():
        try:
            checker.check(hook.command.program)
        except HookFileError as e:
            found.append(f"{hook.path}: command: found {e}; allowed: {PROGRAM_ALLOWED}")
    return found


def file_problems(paths: Iterable[str], trusted: frozenset[int] | None = None) -> list[str]:
    """Return an error line for each configuration file that somebody else could change."""
    found = []
    for path in paths:
        try:
            resolve(os.path.abspath(path), trusted_uids() if trusted is None else trusted)
        except HookFileError as e:
            found.append(f"{path}: found {e}; allowed: {FILE_ALLOWED}")
    return found


def mode(info: os.stat_result) -> str:
    """Return the permission bits as chmod(1) takes them."""
    return f"{stat.S_IMODE(info.st_mode):04o}"


def kind_of(info: os.stat_result) -> str:
    """Return in a word or two what kind of file it is."""
    kinds = {
        stat.S_IFDIR: "directory",
        stat.S_IFCHR: "character device",
        stat.S_IFBLK: "block device",
        stat.S_IFIFO: "named pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFREG: "file",
    }
    return kinds.get(stat.S_IFMT(info.st_mode), "file of an unknown kind")
