# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks a configuration without running it, with the checks of both processes.

Used by `hookd --check` and `hookctl check`. Only this file imports both the server and the runner.
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
    """Return every error of the files and of what they name (programs, users), and the notes."""
    errors, notes = inspect(read, _default_user())
    return errors + admitted(read.config.access).errors, notes


def audit_for_user(read: Read) -> tuple[list[str], list[str]]:
    """Return the same, as far as the calling user can check it.

    The runner of a hook whose file belongs to another user runs as that user. The caller cannot
    see whether it can start the hook, so only the text is checked, and a note names the hook.
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
    """Return the default user of hooks; None if the package's user exists."""
    try:
        pwd.getpwnam(HOOK_USER)
    except KeyError:
        return pwd.getpwuid(os.geteuid()).pw_name
    return None
