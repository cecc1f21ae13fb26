# SPDX-License-Identifier: LGPL-2.1-or-later
"""The accounts that hooks run as: users and their groups, looked up anew every few seconds.

An answer may come over a network (NSS), or never, so nothing here is called in the event loop, see
`hookd.system.lookups`. `AccountCache` keeps an answer for a moment: most runs need not ask.
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
"""What stands in passwd(5) in the place of a shell where nobody shall have one."""

FRESH_SEC = 2.0  # for which the answer of a name service is used again


class Account(msgspec.Struct, frozen=True):
    """A user as a process is one: IDs, groups, and what its environment says."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    def environment(self) -> dict[str, str]:
        """Return the variables that every program of this user finds, see environ(7)."""
        return {
            "PATH": PATH,
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "HOME": self.home,
            "LOGNAME": self.name,
            "SHELL": self.shell,
        }


class Wanted(msgspec.Struct, frozen=True):
    """Whom a hook is to run as: `run.user`, `run.group`, and who is meant without a user."""

    user: str | None = None
    group: str | None = None
    fallback: str | None = None


class AccountCache:
    """The accounts of the last moments, by whom was wanted."""

    def __init__(self) -> None:
        self._known: dict[Wanted, tuple[float, Account]] = {}

    def fresh(self, wanted: Wanted) -> Account | None:
        """Return an account that was looked up a moment ago, None where that was longer ago."""
        until, account = self._known.get(wanted, (0.0, None))
        return account if time.monotonic() < until else None

    def look_up(self, wanted: Wanted) -> Account:
        """Look an account up anew. Raises LookupError, in words."""
        account = chosen(wanted)
        self._known[wanted] = time.monotonic() + FRESH_SEC, account
        return account


def chosen(wanted: Wanted) -> Account:
    """Return whom a hook runs as: `run.user`, else the runner's choice for hooks without one.

    Without privileges that is always the runner's own user. Raises LookupError, in words.
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
    """There is no user of this name or number."""


def named(name: str, group: str | None = None) -> Account:
    """Return the account of this name or number; its group is the user's own or the one named.

    With another group the supplementary ones are those that the user is a member of, and not the
    user's own one, as with Group= in systemd.exec(5). Raises LookupError, in words.
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
    """Return a user by name or number: names come first, as chown(1) takes them."""
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
    """Return the user's home; `hookd-hooks` has one also where an older package gave it none."""
    if entry.pw_name == HOOK_USER and entry.pw_dir in ("/", "/nonexistent"):
        return HOOK_HOME
    return entry.pw_dir or "/"


def usable_shell(shell: str) -> str:
    """Return this shell, or /bin/sh where it is one that nobody can use.

    Programs start it for work of their own (flock -c, ssh's ProxyCommand, script).
    """
    if os.path.basename(shell) in NO_SHELLS or not os.access(shell, os.X_OK):
        return SHELL
    return shell
