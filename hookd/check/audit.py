# SPDX-License-Identifier: LGPL-2.1-or-later
"""All that can be said against a configuration without running it, as both processes see it.

An edge, for `hookd --check` and `hookctl check`: it alone knows the server and the runner.
"""

from __future__ import annotations

import os
import pwd

from hookd.config.files import Read
from hookd.runner.inspection import inspect
from hookd.runner.launch.accounts import HOOK_USER
from hookd.server.api.principals import admitted


def audit(read: Read) -> tuple[list[str], list[str]]:
    """Return every error of the files and of what they name, and the notes."""
    errors, notes = inspect(read, _default_user())
    return errors + admitted(read.config.access).errors, notes


def _default_user() -> str | None:
    """Return whom hooks run as by default: None where the package's user exists."""
    try:
        pwd.getpwnam(HOOK_USER)
    except KeyError:
        return pwd.getpwuid(os.geteuid()).pw_name
    return None
