# SPDX-License-Identifier: LGPL-2.1-or-later
"""The accounts that hooks run as: users and their groups, looked up again every few seconds.

A name service may answer over a network (NSS), or never. Look-ups are therefore not made in the
event loop, see `hookd.system.lookups`. `AccountCache` keeps each answer for FRESH_SEC, so that
most runs need no look-up.
"""

from __future__ import annotations

import grp
import os
import pwd
import time

import msgspec

HOOK_USER = "hookd-hooks"
HOOK_HOME = "/var/lib/hookd-hooks"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = "/bin/sh"
NO_SHELLS = frozenset({"nologin", "false", "true", "sync", "halt", "shutdown"})
"""Programs that passwd(5) names as the shell of a user who must not have one."""

FRESH_SEC = 2.0  # for which an answer of a name service is used again


class Account(msgspec.Struct, frozen=True):
    """What a process has of its user: IDs, groups, and values for its environment."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    def environment(self) -> dict[str, str]:
        """Return the variables that every program of this user gets, see environ(7)."""
        return {
            "PATH": PATH,
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": self.home,
            "LOGNAME": self.name,
            "SHELL": self.shell,
        }


class Wanted(msgspec.Struct, frozen=True):
    """The account that a hook asks for: `run.user`, `run.group`, and the default user."""

    user: str | None = None
    group: str | None = None
    fallback: str | None = None


class AccountCache:
    """The accounts that were looked up recently."""

    def __init__(self) -> None:
        self._known: dict[Wanted, tuple[float, Account]] = {}

    def fresh(self, wanted: Wanted) -> Account | None:
        """Return an account that was looked up in the last FRESH_SEC seconds, or None."""
        until, account = self._known.get(wanted, (0.0, None))
        return account if time.monotonic() < until else None

    def look_up(self, wanted: Wanted) -> Account:
        """Look up an account and keep it. Raises LookupError, with the reason in words."""
        account = chosen(wanted)
        self._known[wanted] = time.monotonic() + FRESH_SEC, account
        return account


def chosen(wanted: Wanted) -> Account:
    """Return the account that a hook runs as: that of `run.user`, or of the default user.

    If the runner is not root, it is always the runner's own. Raises LookupError, with the reason
    in words.
    """
    if os.geteuid() != 0:
        return _own_or_none(wanted)
    if wanted.user is not None:
        return named(wanted.user, wanted.group)
    if wanted.fallback is not None:
        return named(wanted.fallback, wanted.group)
    try:
        return named(HOOK_USER, wanted.group)
    except NoUser:
        raise LookupError(
            f"run.user: not set, and no user {HOOK_USER!r} on this machine; allowed: the name of "
            "a user (systemd-sysusers makes the default one)"
        ) from None


class NoUser(LookupError):
    """No user has this name or number."""


def named(name: str, group: str | None = None) -> Account:
    """Return the account of this name or number, with the user's primary group or the one named.

    If a group is named, the supplementary groups are those that the user is a member of, without
    the user's primary group, as with Group= in systemd.exec(5). Raises LookupError, with the
    reason in words.
    """
    mine = own()
    if name in (mine.name, str(mine.uid)) and group is None:
        return mine
    entry = _entry(name)
    gid = entry.pw_gid if group is None else _gid(group)
    return _account(entry, gid, tuple(sorted(os.getgrouplist(entry.pw_name, gid))))


def own() -> Account:
    """Return the account that this process runs as, with the groups it has."""
    uid, gid = os.geteuid(), os.getegid()
    groups = tuple(sorted(os.getgroups()))
    try:
        return _account(pwd.getpwuid(uid), gid, groups)
    except KeyError:  # a user without a name, as in many containers
        return Account(str(uid), uid, gid, groups, "/", SHELL)


def _own_or_none(wanted: Wanted) -> Account:
    mine = own()
    if wanted.user not in (None, mine.name, str(mine.uid)):
        raise LookupError(
            f"run.user: found {wanted.user!r}; allowed: {mine.name!r} or none, since hookd-runner "
            "runs as that user and not as root"
        )
    if wanted.group is not None and _gid(wanted.group) != mine.gid:
        raise LookupError(
            f"run.group: found {wanted.group!r}; allowed: {mine.gid} or none, since hookd-runner "
            "runs with that group and not as root"
        )
    return mine


def _entry(name: str) -> pwd.struct_passwd:
    """Return a user by name or number. Names take precedence, as in chown(1)."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        pass
    try:
        if name.isascii() and name.isdecimal():
            return pwd.getpwuid(int(name))
    except (KeyError, OverflowError):
        pass
    raise NoUser(f"run.user: no user {name!r} on this machine")


def _gid(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        pass
    try:
        if name.isascii() and name.isdecimal():
            return grp.getgrgid(int(name)).gr_gid
    except (KeyError, OverflowError):
        pass
    raise LookupError(f"run.group: no group {name!r} on this machine")


def _account(entry: pwd.struct_passwd, gid: int, groups: tuple[int, ...]) -> Account:
    return Account(
        entry.pw_name, entry.pw_uid, gid, groups, _home(entry), usable_shell(entry.pw_shell)
    )


def _home(entry: pwd.struct_passwd) -> str:
    """Return the user's home; `hookd-hooks` has one even if an older package gave it none."""
    if entry.pw_name == HOOK_USER and entry.pw_dir in ("/", "/nonexistent"):
        return HOOK_HOME
    return entry.pw_dir or "/"


def usable_shell(shell: str) -> str:
    """Return this shell, or /bin/sh if this one is unusable.

    Some programs use the shell to start commands (flock -c, ssh's ProxyCommand, script).
    """
    if os.path.basename(shell) in NO_SHELLS or not os.access(shell, os.X_OK):
        return SHELL
    return shell
