# SPDX-License-Identifier: LGPL-2.1-or-later
"""The names of `[access]` as the numbers that the kernel knows peers by."""

from __future__ import annotations

import grp
import os
import pwd

from hookd.config import Access
from hookd.errors import ConfigError
from hookd.server.admission import Gatekeeper, Principals


def gatekeeper(access: Access) -> Gatekeeper:
    """Return who may call what. Raises ConfigError for a user or group that does not exist."""
    submit, manage = principals(access)
    return Gatekeeper(os.geteuid(), submit, manage)


def principals(access: Access) -> tuple[Principals, Principals]:
    """Return the two lists of `[access]` as numbers. Raises ConfigError for unknown names."""
    errors: list[str] = []
    found = []
    for key in ("submit", "manage"):
        uids, gids = set(), set()
        for name in getattr(access, key):
            try:
                if name.startswith("@"):
                    gids.add(grp.getgrnam(name[1:]).gr_gid)
                else:
                    uids.add(pwd.getpwnam(name).pw_uid)
            except KeyError:
                if name != "@hookd":  # the default's group comes with the package
                    errors.append(
                        f"hookd.toml: access.{key}: found {name!r}, which does not exist"
                    )
        found.append(Principals(frozenset(uids), frozenset(gids)))
    if errors:
        raise ConfigError(errors)
    return found[0], found[1]
