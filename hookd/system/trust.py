# SPDX-License-Identifier: LGPL-2.1-or-later
"""The chain of trust: whether a user other than root and hookd's own could change a file.

Every directory above the file, every symbolic link on the way and the file itself must belong to
one of these two users and be writable by no other. ACLs need no separate check: the group's mode
bits show the mask that limits them (acl(5)).

It is enough to check a path; no descriptor has to be held until the file is used. The path is
followed from `/` down. Once an entry has passed, only root and hookd's user can change it, because
its directory has passed before it. So the file that is used is the one that was checked, if the
check comes first. An entry of another user is found whatever is swapped below it.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat

MAX_LINKS = 40  # symbolic links in one path: the kernel's limit, see path_resolution(7)
NULL_DEVICE = os.makedev(1, 3)  # null(4)


class PathError(Exception):
    """A path that must not be used; the text says what was found, and is always printable."""

    def __init__(self, found: str) -> None:
        super().__init__(printable(found))


class Missing(PathError):
    """The path does not exist."""


def trusted_uids() -> frozenset[int]:
    """Return the users that may own a hook: root, the user of this process, and the owner of `/`.

    The owner of `/` has to be trusted in any case. It is root, but in a user namespace that does
    not map root, root's files appear as those of the overflow user.
    """
    return frozenset((0, os.geteuid(), os.stat("/").st_uid))


def check(path: str | os.PathLike[str]) -> None:
    """Raise PathError if another user could change the file at a path."""
    resolve(os.path.join(os.getcwd(), path), trusted_uids())


Steps = list[tuple[str, tuple[int, ...]]]
"""The entries found on the way along a path, each with its `identity`."""


def identity(info: os.stat_result) -> tuple[int, ...]:
    """Return the values that are equal in two checks of an entry if it has not changed.

    The change time cannot be set back: if it is equal, so are owner, mode and content. That of a
    directory changes with every entry in it, so owner and mode themselves are used instead.
    """
    if stat.S_ISDIR(info.st_mode):
        return info.st_dev, info.st_ino, info.st_mode, info.st_uid
    return info.st_dev, info.st_ino, info.st_ctime_ns


def unchanged(steps: Steps) -> bool:
    """Return whether all steps of a path are unchanged, so that no new check is needed."""
    try:
        return all(identity(os.lstat(entry)) == seen for entry, seen in steps)
    except OSError:
        return False


def resolve(
    path: str, trusted: frozenset[int], steps: Steps | None = None
) -> tuple[str, os.stat_result]:
    """Follow a path step by step; return the real path and its status.

    Each entry found is added to `steps`. Raises PathError if an entry is missing or a user that is
    not trusted could change it.
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
            except OSError as e:  # root has changed it in the meantime
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
    """Return the status of one entry of a path. Raises PathError with the reason."""
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
    """Raise PathError if a user that is not trusted could change this entry.

    A directory that others can write is safe if it is sticky: then only the owners of an entry and
    of the directory can rename or remove the entry (inode(7)), and both are checked.
    """
    if info.st_uid not in trusted:
        owner = user_name(info.st_uid)
        raise PathError(f"{entry} belongs to user {owner}, who could change it")
    if stat.S_ISLNK(info.st_mode):
        return  # the mode of a link has no meaning
    if stat.S_ISCHR(info.st_mode) and info.st_rdev == NULL_DEVICE:
        return  # it stays empty, whoever writes to it
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
    """Return whether an entry has an ACL; its group mode bits are then the mask, see acl(5)."""
    try:
        return bool(os.getxattr(entry, "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path, of any bytes, as text that can be sent and printed."""
    return os.fsencode(path).decode(errors="backslashreplace")


def mode(info: os.stat_result) -> str:
    """Return the permission bits as chmod(1) accepts them."""
    return f"{stat.S_IMODE(info.st_mode):04o}"


def kind_of(info: os.stat_result) -> str:
    """Return the type of a file in words."""
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
    """Return the name of a group, or its number if it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def user_name(uid: int) -> str:
    """Return the name of a user, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
