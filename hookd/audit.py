# SPDX-License-Identifier: LGPL-2.1-or-later
"""All that can be said against a configuration without running it, as both processes see it.

An edge, for `hookd --check` and `hookctl check`: it alone knows the server and the runner.
"""

from __future__ import annotations

import os
import pwd

from hookd.confdir import Loaded
from hookd.errors import ConfigError
from hookd.runner.accounts import HOOK_USER
from hookd.runner.runner import plans
from hookd.server.access import principals


def audit(loaded: Loaded) -> None:
    """Raise ConfigError with every error that the server or the runner would find at a start."""
    errors: list[str] = []
    for look in (
        lambda: principals(loaded.config.access),
        lambda: plans(loaded, _default_user()),
    ):
        try:
            look()
        except ConfigError as e:
            errors += e.errors
    if errors:
        raise ConfigError(errors)


def _default_user() -> str | None:
    """Return whom hooks run as by default: None where the package's user exists."""
    try:
        pwd.getpwnam(HOOK_USER)
    except KeyError:
        return pwd.getpwuid(os.geteuid()).pw_name
    return None
