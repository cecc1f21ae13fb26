# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the configuration lies, and how it is read: `hookd.toml` and the `hooks.d` beside it.

Files only; what they mean is `hookd.config`'s. Each is looked at before it is read: what somebody
else could change is refused (`hookd.trust`). A path may be any bytes; what is told of it is text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from hookd import trust
from hookd.config import HOOK_NAME, HOOK_NAME_ALLOWED, Config, Source, parse
from hookd.errors import ConfigError
from hookd.trust import Missing, PathError, printable

SYSTEM_CONFIG = Path("/etc/hookd/hookd.toml")
VENDOR_HOOKS = Path("/usr/lib/hookd/hooks.d")
MAX_FILE = 1024 * 1024  # bytes: a larger file is no configuration
ALLOWED = "what only root and hookd's own user can change"

# What editors and package managers leave behind; see dpkg(1), rpm(8) and the editors' manuals.
LEFTOVER = re.compile(r".*(~|\.swp|\.rpm(save|new|orig)|\.(dpkg|ucf)-[a-z]+)", re.DOTALL)


class Loaded(msgspec.Struct, frozen=True):
    """A configuration, and what was passed over on the way to it."""

    config: Config
    notes: tuple[str, ...]


def default_path() -> Path:
    """Return the `hookd.toml` in use where none is named.

    That is the service manager's (systemd.exec(5), ConfigurationDirectory=), root's in /etc, else
    the user's own.
    """
    if given := os.environ.get("CONFIGURATION_DIRECTORY"):
        return Path(given) / "hookd.toml"
    if os.geteuid() == 0:
        return SYSTEM_CONFIG
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "hookd" / "hookd.toml"


def load(path: Path | None) -> Loaded:
    """Read and parse everything. None: the default path, which need not exist.

    Raises ConfigError with every error of every file.
    """
    errors: list[str] = []
    notes: list[str] = []
    sources: list[Source] = []
    main = path if path is not None else default_path()
    data = _read(main, errors, missing_ok=path is None)
    if data is not None:
        sources.append(Source(printable(main), None, data))
    hooks: dict[str, Path] = {}
    if main == SYSTEM_CONFIG:
        hooks.update(_hook_files(VENDOR_HOOKS, errors, notes))
    hooks.update(_hook_files(main.parent / "hooks.d", errors, notes))
    for name, file in sorted(hooks.items()):
        data = _read(file, errors)
        if data is not None:
            sources.append(Source(printable(file), name, data))
    return _parse(sources, errors, notes)


def load_files(paths: list[Path]) -> Loaded:
    """Parse these files alone, each as what its name says: `hookd.toml`, or a hook's file.

    Raises ConfigError with every error of every file.
    """
    errors: list[str] = []
    sources = []
    for path in paths:
        name = None if path.name == "hookd.toml" else path.name.removesuffix(".toml")
        if name is not None and not HOOK_NAME.fullmatch(name):
            errors.append(_bad_name(path))
        data = _read(path, errors)
        if data is not None:
            sources.append(Source(printable(path), name, data))
    return _parse(sources, errors, [])


def _parse(sources: list[Source], errors: list[str], notes: list[str]) -> Loaded:
    """Return what the files make; raise ConfigError with the errors of reading and of parsing."""
    try:
        config = parse(sources)
    except ConfigError as e:
        raise ConfigError(errors + e.errors) from None
    if errors:
        raise ConfigError(errors)
    return Loaded(config, tuple(notes))


def _read(path: Path, errors: list[str], missing_ok: bool = False) -> bytes | None:
    shown = printable(path)
    try:
        trust.check(path)
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except Missing:
        if not missing_ok:
            errors.append(f"{shown}: no such file")
        return None
    except PathError as e:
        errors.append(f"{shown}: found {e}; allowed: {ALLOWED}")
        return None
    except OSError as e:
        errors.append(f"{shown}: cannot be read: {e.strerror}")
        return None
    if len(data) > MAX_FILE:
        errors.append(f"{shown}: larger than {MAX_FILE} bytes; allowed: a smaller file")
        return None
    return data


def _hook_files(directory: Path, errors: list[str], notes: list[str]) -> dict[str, Path]:
    try:
        trust.check(directory)
        names = sorted(entry.name for entry in directory.iterdir())
    except Missing:
        return {}
    except PathError as e:
        errors.append(f"{printable(directory)}: found {e}; allowed: {ALLOWED}")
        return {}
    except OSError as e:
        errors.append(f"{printable(directory)}: cannot be read: {e.strerror}")
        return {}
    found = {}
    for name in names:
        path = directory / name
        if name.startswith(".") or LEFTOVER.fullmatch(name):
            notes.append(f"{printable(path)}: ignored: left by an editor or a package manager")
        elif not name.endswith(".toml"):
            notes.append(f"{printable(path)}: ignored: its name does not end in .toml")
        elif not HOOK_NAME.fullmatch(name.removesuffix(".toml")):
            errors.append(_bad_name(path))
        else:
            found[name.removesuffix(".toml")] = path
    return found


def _bad_name(path: Path) -> str:
    return f"{printable(path)}: found the hook name {path.stem!r}; allowed: {HOOK_NAME_ALLOWED}"
