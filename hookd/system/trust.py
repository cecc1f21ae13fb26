# SPDX-License-Identifier: LGPL-2.1-or-later
"""The chain of trust: whether anybody but root and hookd's own user could change a file.

Every directory above it, every symbolic link on the way and the file itself must belong to one of
these and be writable by nobody else. ACLs need no look of their own: the mask that bounds them is
what the group's mode bits show (acl(5)).

Why a look at a path suffices, and no descriptor is held until the use: the path is followed from
`/` down, and an entry that passes can be changed from then on by root and hookd's user alone,
because its directory has passed before it. So what was looked at is what is used, if the look
comes first; an entry of somebody else is found whatever is swapped below it.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat

MAX_LINKS = 40  # symbolic links in one path: the kernel's own limit, see path_resolution(7)
NULL_DEVICE = os.makedev(1, 3)  # null(4)


class PathError(Exception):
    """A path that may not be used; the text says what was found, and can always be printed."""

    def __init__(self, found: str) -> None:
        super().__init__(printable(found))


class Missing(PathError):
    """There is nothing at the path."""


def trusted_uids() -> frozenset[int]:
    """Return who may own a hook: root and the user that this process is.

    And the owner of `/`, whom there is no way not to trust. That is root, but in a user namespace
    that does not map root it is the overflow user, as whom root's files appear there.
    """
    return frozenset((0, os.geteuid(), os.stat("/").st_uid))


def check(path: str | os.PathLike[str]) -> None:
    """Raise PathError where somebody else could change what stands at a path."""
    resolve(os.path.join(os.getcwd(), path), trusted_uids())


Steps = list[tuple[str, tuple[int, ...]]]
"""What stood at each step of a path: its entries, each with its `identity`."""


def identity(info: os.stat_result) -> tuple[int, ...]:
    """Return what has not changed where a second look at an entry finds the same.

    The change time cannot be set back: the same one means the same owner, mode and content. A
    directory's changes with every entry in it, so there it is the owner and the mode themselves.
    """
    if stat.S_ISDIR(info.st_mode):
        return info.st_dev, info.st_ino, info.st_mode, info.st_uid
    return info.st_dev, info.st_ino, info.st_ctime_ns


def unchanged(steps: Steps) -> bool:
    """Return whether a path still leads where it led, so that nothing need be checked again."""
    try:
        return all(identity(os.lstat(entry)) == seen for entry, seen in steps)
    except OSError:
        return False


def resolve(
    path: str, trusted: frozenset[int], steps: Steps | None = None
) -> tuple[str, os.stat_result]:
    """Follow a path step by step; return the real one and what stands there.

    What stood at each step is added to `steps`. Raises PathError where a step is missing or
    somebody not trusted could change it.
    """
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    at, info = "", look("/", path)
    check_owner("/", info, None, trusted)
    steps = [] if steps is None else steps
    steps.append(("/", identity(info)))
    links = 0
    above: list[tuple[str, os.stat_result]] = []
    while todo:
        name = todo.pop()
        if name == "..":
            at, info = above.pop() if above else ("", look("/", path))
            continue
        if not stat.S_ISDIR(info.st_mode):
            raise PathError(f"{at} is a {kind_of(info)}, not a directory")
        entry = f"{at}/{name}"
        found = look(entry, path)
        check_owner(entry, found, info, trusted)
        steps.append((entry, identity(found)))
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > MAX_LINKS:
                raise PathError(f"{path} has too many symbolic links, or a ring of them")
            try:
                target = os.readlink(entry)
            except OSError as e:  # root has changed it meanwhile
                raise PathError(f"{entry} cannot be looked at: {e.strerror}") from None
            if target.startswith("/"):
                at, info = "", os.lstat("/")
                above.clear()
            todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
            continue
        above.append((at, info))
        at, info = entry, found
    return at or "/", info


def look(entry: str, path: str) -> os.stat_result:
    """Return what stands at one step of a path. Raises PathError, in words."""
    try:
        return os.lstat(entry)
    except FileNotFoundError:
        if entry == path:
            raise Missing(f"{path} does not exist") from None
        if os.path.islink(path):
            raise Missing(f"{path} is a symbolic link to {entry}, which does not exist") from None
        raise Missing(f"{path} does not exist: there is no {entry}") from None
    except OSError as e:
        raise PathError(f"{entry} cannot be looked at: {e.strerror}") from None


def check_owner(
    entry: str, info: os.stat_result, above: os.stat_result | None, trusted: frozenset[int]
) -> None:
    """Raise PathError where somebody not trusted could change this entry.

    A directory writable by others is safe when it is sticky: only the owners of an entry and of
    the directory can then rename or remove the entry (inode(7)), and both are checked.
    """
    if info.st_uid not in trusted:
        owner = user_name(info.st_uid)
        raise PathError(f"{entry} belongs to user {owner}, who could change it")
    if stat.S_ISLNK(info.st_mode):
        return  # a link's own mode means nothing
    if stat.S_ISCHR(info.st_mode) and info.st_rdev == NULL_DEVICE:
        return  # whoever writes to it, it stays empty
    sticky_directory = stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX
    if info.st_mode & 0o022 and not sticky_directory:
        if info.st_mode & 0o002:
            who = "everybody"
        elif has_acl(entry):
            raise PathError(
                f"{entry} has an ACL by which others than its owner may write to it "
                f"(mode {mode(info)}, see getfacl(1))"
            )
        else:
            who = f"group {group_name(info.st_gid)}"
        raise PathError(f"{entry} is writable by {who} (mode {mode(info)})")


def has_acl(entry: str) -> bool:
    """Return whether an entry has an ACL: the group's mode bits are then its mask, see acl(5)."""
    try:
        return bool(os.getxattr(entry, "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be sent and printed, whatever bytes it has."""
    return os.fsencode(path).decode(errors="backslashreplace")


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


def group_name(gid: int) -> str:
    """Return a group's name, its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def user_name(uid: int) -> str:
    """Return a user's name, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
