# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds and reads the configuration: `hookd.toml` and the directory `hooks.d` beside it.

This file only reads files; `hookd.config.parse` parses them. Each file is checked before it is
read. A file that another user could change is refused (`hookd.system.trust`). So is anything that
is not a regular file, because reading a named pipe could block without end. A path may consist of
any bytes; messages show it as text. All functions block until the file system answers (`Trail`).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import msgspec

from hookd.config.parse import HOOK_NAME, HOOK_NAME_ALLOWED, Config, Source, parse_all
from hookd.errors import ConfigError
from hookd.system import trust
from hookd.system.trust import Missing, PathError, printable

SYSTEM_CONFIG = Path("/etc/hookd/hookd.toml")
VENDOR_HOOKS = Path("/usr/lib/hookd/hooks.d")
MAX_FILE = 1024 * 1024  # bytes; a larger file is refused
ALLOWED = "what only root and hookd's own user can change"

# Files left by editors and package managers; see dpkg(1), rpm(8) and the editors' manuals.
LEFTOVER = re.compile(r".*(~|\.swp|\.rpm(save|new|orig)|\.(dpkg|ucf)-[a-z]+)", re.DOTALL)


class Trail:
    """The path that is being checked, for a caller that waits in another thread."""

    def __init__(self) -> None:
        self._path: str | os.PathLike[str] = "the configuration"

    def at(self, path: str | os.PathLike[str]) -> None:
        """Note the path that is checked next."""
        self._path = path

    def words(self) -> str:
        """Return that path as text."""
        return printable(self._path)


class Loaded(msgspec.Struct, frozen=True):
    """A configuration, and notes on the files that were ignored."""

    config: Config
    notes: tuple[str, ...]


class Read(msgspec.Struct, frozen=True):
    """What was read, with all errors; if there is any, `config` must not be used, only checked."""

    config: Config
    notes: tuple[str, ...]
    errors: list[str]

    @property
    def loaded(self) -> Loaded:
        """The configuration. Raises ConfigError with every error of every file."""
        if self.errors:
            raise ConfigError(self.errors)
        return Loaded(self.config, self.notes)


def default_path() -> Path:
    """Return the `hookd.toml` that is used if none is given.

    It is in the directory of the service manager (systemd.exec(5), ConfigurationDirectory=), in
    /etc for root, else in the user's own directory.
    """
    if given := os.environ.get("CONFIGURATION_DIRECTORY"):
        return Path(given) / "hookd.toml"
    if os.geteuid() == 0:
        return SYSTEM_CONFIG
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "hookd" / "hookd.toml"


def load(path: Path | None, trail: Trail | None = None) -> Loaded:
    """Read and parse all files. None: the default path, which need not exist.

    Raises ConfigError with every error of every file.
    """
    return read(path, trail).loaded


def read(path: Path | None, trail: Trail | None = None) -> Read:
    """Read and parse all files; return the result with every error of every file."""
    reader = _Reader(trail or Trail())
    main = path if path is not None else default_path()
    reader.read(main, None, missing_ok=path is None)
    directories = [main.parent / "hooks.d"]
    if main == SYSTEM_CONFIG:
        directories.insert(0, VENDOR_HOOKS)
    hooks: dict[str, Path] = {}
    changes: dict[str, dict[str, Path]] = {}
    for directory in directories:
        reader.look_through(directory, hooks, changes)
    for name, file in sorted(hooks.items()):
        if reader.read(file, name):
            for change, path in sorted(changes.get(name, {}).items()):
                reader.read(path, name, change)
    for name, files in sorted(changes.items()):
        if name not in hooks:
            reader.notes += [
                f"{printable(file)}: ignored: there is no {name}.toml that it could change"
                for file in files.values()
            ]
    return reader.parse()


def read_files(paths: list[Path], trail: Trail | None = None) -> Read:
    """Parse only these files. A file named `hookd.toml` is that; any other is a hook's file."""
    reader = _Reader(trail or Trail())
    for path in paths:
        name = None if path.name == "hookd.toml" else path.name.removesuffix(".toml")
        if name is not None and not HOOK_NAME.fullmatch(name):
            reader.errors.append(_bad_name(path))
        reader.read(path, name)
    return reader.parse()


class _Reader:
    """Reads files; keeps their contents, errors and notes."""

    def __init__(self, trail: Trail) -> None:
        self.errors: list[str] = []
        self.notes: list[str] = []
        self._sources: list[Source] = []
        self._trail = trail

    def parse(self) -> Read:
        """Return the configuration that the files make, with all errors."""
        config, errors = parse_all(self._sources)
        return Read(config, tuple(self.notes), self.errors + errors)

    def read(
        self, path: Path, hook: str | None, drop_in: str | None = None, missing_ok: bool = False
    ) -> bool:
        """Read one file; return whether it was read and is not blank."""
        shown = printable(path)
        self._trail.at(path)
        try:
            data = _content(path)
        except Missing:
            if not missing_ok:
                self.errors.append(f"{shown}: no such file")
        except PathError as e:
            self.errors.append(f"{shown}: found {e}; allowed: {ALLOWED}")
        except OSError as e:
            self.errors.append(f"{shown}: cannot be read: {e.strerror}")
        else:
            if len(data) <= MAX_FILE:
                self._sources.append(Source(shown, hook, data, drop_in))
                return bool(data.strip())
            self.errors.append(f"{shown}: larger than {MAX_FILE} bytes; allowed: a smaller file")
        return False

    def look_through(
        self, directory: Path, hooks: dict[str, Path], changes: dict[str, dict[str, Path]]
    ) -> None:
        """Add the hook files and drop-ins of a directory; they replace those of the same name."""
        for name in self._names(directory):
            path = directory / name
            hook = name.removesuffix(".d").removesuffix(".toml")
            if self._left_over(path):
                continue
            if not HOOK_NAME.fullmatch(hook):
                self.errors.append(_bad_name(path))
            elif name.endswith(".toml"):
                hooks[hook] = path
            else:
                for change in self._names(path):
                    if not self._left_over(path / change, ".toml"):
                        changes.setdefault(hook, {})[change] = path / change

    def _names(self, directory: Path) -> list[str]:
        self._trail.at(directory)
        try:
            trust.check(directory)
            return sorted(entry.name for entry in directory.iterdir())
        except Missing:
            return []
        except PathError as e:
            self.errors.append(f"{printable(directory)}: found {e}; allowed: {ALLOWED}")
        except OSError as e:
            self.errors.append(f"{printable(directory)}: cannot be read: {e.strerror}")
        return []

    def _left_over(self, path: Path, *endings: str) -> bool:
        """Return whether a file is to be ignored, and add a note if so."""
        if path.name.startswith(".") or LEFTOVER.fullmatch(path.name):
            why = "left by an editor or a package manager"
        elif not path.name.endswith(endings or (".toml", ".toml.d")):
            why = "its name does not end in .toml"
        else:
            return False
        self.notes.append(f"{printable(path)}: ignored: {why}")
        return True


def _content(path: Path) -> bytes:
    """Return the bytes of a file, at most one more than MAX_FILE.

    Raises PathError if another user could change it or it is not a regular file, and OSError. The
    file is opened with O_NONBLOCK: root may have replaced it by a named pipe, see fifo(7).
    """
    _, info = trust.resolve(str(Path.cwd() / path), trust.trusted_uids())
    _only_files(path, info)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        _only_files(path, os.fstat(fd))
        return file.read(MAX_FILE + 1)


def _only_files(path: Path, info: os.stat_result) -> None:
    if stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(info.st_mode) and info.st_rdev != trust.NULL_DEVICE:
        raise PathError(f"{printable(path)} is a {trust.kind_of(info)}, not a file")


def _bad_name(path: Path) -> str:
    return f"{printable(path)}: found the hook name {path.stem!r}; allowed: {HOOK_NAME_ALLOWED}"
