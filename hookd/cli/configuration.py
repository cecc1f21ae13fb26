# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl check and reload: check and reload the configuration."""

from __future__ import annotations

from pathlib import Path

import click

from hookd.cli.base import DONE, Settings, note
from hookd.cli.command import command
from hookd.config.files import SYSTEM_CONFIG, default_path, read, read_files
from hookd.errors import ConfigError
from hookd.manager_api import Reload, ReloadReply
from hookd.system.terminal import print_json, say


@command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
def check(settings: Settings, files: tuple[Path, ...]) -> int:
    """Check the configuration, or only these FILEs.

    No daemon is needed. For root the configuration is /etc/hookd, for other users their own.
    """
    from hookd.check.audit import audit_for_user

    if not files and (path := default_path()) != SYSTEM_CONFIG:
        note(f"checking {path} and hooks.d beside it; the system's is {SYSTEM_CONFIG}")
    found = read_files(list(files)) if files else read(None)
    errors, notes = audit_for_user(found)
    if errors:
        raise ConfigError(errors)
    loaded = ReloadReply(hooks=len(found.config.hooks), notes=notes)
    return _tell(settings, loaded, "checked, no errors")


@command()
def reload(settings: Settings) -> int:
    """Reload the configuration.

    If it has any error, the old configuration stays in use.
    """
    with settings.client() as hookd:
        loaded = hookd.call("io.hookd.Manager.Reload", Reload(), ReloadReply, repeat=True)
    return _tell(settings, loaded, "loaded")


def _tell(settings: Settings, loaded: ReloadReply, what: str) -> int:
    if settings.json:
        print_json(loaded)
        return DONE
    for line in loaded.notes:
        note(line)
    say(f"{loaded.hooks} hook{'' if loaded.hooks == 1 else 's'} {what}")
    return DONE
