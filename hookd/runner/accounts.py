# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whom hooks run as: users and their groups, looked up when a configuration is loaded.

Not at each run: the answer may come over a network, and a run must not wait for it.
"""

from __future__ import annotations

import os
import pwd

import msgspec

HOOK_USER = "hookd-hooks"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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


def named(name: str) -> Account:
    """Return the account of this name. Raises LookupError, in words, where there is none."""
    mine = own()
    if name == mine.name:
        return mine
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LookupError(f"no user {name!r} on this machine") from None
    groups = tuple(sorted(os.getgrouplist(name, entry.pw_gid)))
    return _account(entry, groups)


def own() -> Account:
    """Return the account that this process runs as, with the groups it has."""
    uid, gid = os.geteuid(), os.getegid()
    groups = tuple(sorted(os.getgroups()))
    try:
        return _account(pwd.getpwuid(uid), groups)
    except KeyError:  # a user without a name, as in many containers
        return Account(str(uid), uid, gid, groups, "/", "/bin/sh")


def chosen(user: str | None, fallback: str | None) -> Account:
    """Return whom a hook runs as: `run.user`, else the runner's choice for hooks without one.

    Without privileges that is always the runner's own user. Raises LookupError, in words.
    """
    if os.geteuid() != 0:
        mine = own()
        if user is not None and user != mine.name:
            raise LookupError(
                f"found {user!r}; allowed: {mine.name!r} or none, since hookd-runner runs as that "
                "user and not as root"
            )
        return mine
    if user is not None:
        return named(user)
    if fallback is not None:
        return named(fallback)
    try:
        return named(HOOK_USER)
    except LookupError:
        raise LookupError(
            f"not set, and no user {HOOK_USER!r} on this machine; allowed: the name of a user "
            "(systemd-sysusers makes the default one)"
        ) from None


def _account(entry: pwd.struct_passwd, groups: tuple[int, ...]) -> Account:
    return Account(
        entry.pw_name,
        entry.pw_uid,
        entry.pw_gid,
        groups,
        entry.pw_dir,
        entry.pw_shell or "/bin/sh",
    )
