# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl check, hookctl reload: the configuration, before and while the daemon uses it."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from hookd.cli.base import DONE, Settings, note
from hookd.cli.command import command
from hookd.config.files import read, read_files
from hookd.errors import ConfigError
from hookd.system.terminal import print_json, say


class Loaded(msgspec.Struct):
    """What Reload answers."""

    hooks: int
    notes: list[str]


@command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
def check(settings: Settings, files: tuple[Path, ...]) -> int:
    """Check the configuration, or FILEs alone.

    Needs no daemon.
    """
    from hookd.check.audit import audit

    found = read_files(list(files)) if files else read(None)
    errors, notes = audit(found)
    if errors:
        raise ConfigError(errors)
    return _tell(settings, Loaded(len(found.config.hooks), notes), "checked, no errors")


@command()
def reload(settings: Settings) -> int:
    """Read the configuration anew.

    All of it or, with any error, nothing: then the old one stays in use.
    """
    with settings.client() as hookd:
        loaded = hookd.call("io.hookd.Manager.Reload", {}, Loaded, repeat=True)
    return _tell(settings, loaded, "loaded")


def _tell(settings: Settings, loaded: Loaded, what: str) -> int:
    if settings.json:
        print_json(loaded)
        return DONE
    for line in loaded.notes:
        note(line)
    say(f"{loaded.hooks} hook{'' if loaded.hooks == 1 else 's'} {what}")
    return DONE
