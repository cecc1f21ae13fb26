# SPDX-License-Identifier: LGPL-2.1-or-later
"""All that can be said against a configuration without running it, as both processes see it.

An edge, for `hookd --check` and `hookctl check`: it alone knows the server and the runner.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import msgspec

from hookd.config.files import Read
from hookd.runner.inspection import inspect
from hookd.runner.launch.accounts import HOOK_USER
from hookd.server.api.principals import admitted

TEXT_ALONE = (
    "files of another user: only the text of {} was checked; programs, directories and users are "
    "checked when root calls hookctl check"
)


def audit(read: Read) -> tuple[list[str], list[str]]:
    """Return every error of the files and of what they name, and the notes."""
    errors, notes = inspect(read, _default_user())
    return errors + admitted(read.config.access).errors, notes


def audit_for_user(read: Read) -> tuple[list[str], list[str]]:
    """Return the same, as far as the calling user can tell.

    The runner of a hook whose file belongs to another user runs as that user: whether it can start
    the hook is not for us to see. Of such hooks the text alone is checked, and a note names them.
    """
    mine = {n: hook for n, hook in read.config.hooks.items() if not _of_another_user(hook.path)}
    others = sorted(read.config.hooks.keys() - mine.keys())
    config = msgspec.structs.replace(read.config, hooks=mine)
    errors, notes = audit(msgspec.structs.replace(read, config=config))
    if others:
        notes.append(TEXT_ALONE.format(", ".join(others)))
    return errors, notes


def _of_another_user(path: str) -> bool:
    if os.geteuid() == 0:
        return False
    try:
        return Path(path).stat().st_uid != os.geteuid()
    except OSError:
        return False


def _default_user() -> str | None:
    """Return whom hooks run as by default: None where the package's user exists."""
    try:
        pwd.getpwnam(HOOK_USER)
    except KeyError:
        return pwd.getpwuid(os.geteuid()).pw_name
    return None
