# SPDX-License-Identifier: LGPL-2.1-or-later
"""Converts the names of `[access]` to the numbers by which the kernel identifies peers."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable

import msgspec

from hookd.config.parse import Access
from hookd.server.api.access import AccessPolicy, Principals

MAX_ID = 2**32 - 2  # the one above means "no change" to chown(2)


class Admitted(msgspec.Struct, frozen=True):
    """The two lists of `[access]` as numbers, and an error for each name that does not exist."""

    submit: Principals
    manage: Principals
    errors: list[str]

    @property
    def access_policy(self) -> AccessPolicy:
        """Who may call what. A name that does not exist admits nobody."""
        return AccessPolicy(os.geteuid(), self.submit, self.manage)


def admitted(access: Access) -> Admitted:
    """Look up the names of `[access]`. This blocks until the name service answers."""
    errors: list[str] = []
    found = []
    for key in ("submit", "manage"):
        uids, gids = set(), set()
        for name in getattr(access, key):
            try:
                if name.startswith("@"):
                    gids.add(_number(name[1:], lambda group: grp.getgrnam(group).gr_gid))
                else:
                    uids.add(_number(name, lambda user: pwd.getpwnam(user).pw_uid))
            except KeyError:
                if name != "@hookd":  # the group of the default comes with the package
                    errors.append(
                        f"hookd.toml: access.{key}: found {name!r}, which does not exist; "
                        "allowed: users and @groups, by name or number"
                    )
        found.append(Principals(frozenset(uids), frozenset(gids)))
    return Admitted(found[0], found[1], errors)


def _number(name: str, look_up: Callable[[str], int]) -> int:
    """Return the number of a name, or the number that it is; a name has priority, as in chown(1).

    Raises KeyError if it is neither.
    """
    try:
        return look_up(name)
    except KeyError:
        if name.isascii() and name.isdecimal() and int(name) <= MAX_ID:
            return int(name)
        raise
