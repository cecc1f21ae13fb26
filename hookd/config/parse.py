# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parses the configuration: TOML sources to one frozen `Config`, or to a list of all errors.

`hookd.config.files` reads the files; the runner checks the programs that hooks name
(`hookd.runner.run.program_check`). This file does no input or output.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from hookd.config.options import (
    ACCESS,
    DAEMON,
    HOOK,
    HOOK_TABLES,
    BuildCondition,
    Network,
    Option,
    shown,
)
from hookd.config.template import Template
from hookd.errors import ConfigError
from hookd.model import Outcome, Phase

HOOK_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*", re.ASCII)
TABLES_DEEP = 2  # levels of nested tables that are merged by key: run.environment
HOOK_NAME_ALLOWED = 'lower-case letters, digits, "_", "." and "-", a letter or digit first'


class Source(msgspec.Struct, frozen=True):
    """One file as it was read. `hook` is the name of the hook; None for hookd.toml.

    `drop_in` is the name of a file that changes a hook's file, which comes before it.
    """

    path: str
    hook: str | None
    data: bytes
    drop_in: str | None = None


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """`[daemon]`. Times in seconds; None: never."""

    max_running: int
    max_queue: int
    job_ids: str
    lost_after: float | None
    drain: float
    history: float | None


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """`[access]`: names of users, and of groups after an "@"."""

    submit: tuple[str, ...]
    manage: tuple[str, ...]


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """`[match]`; None: the key is not given. One value of each given key must match."""

    profile: tuple[str, ...] | None
    user: tuple[str, ...] | None
    client_ip: tuple[Network, ...] | None
    client_build_no: tuple[BuildCondition | str, ...] | None
    outcome: tuple[Outcome, ...] | None
    min_bytes: int | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """`[run]`: user, directory and concurrency of a hook. `max_running` is always a number."""

    user: str | None
    group: str | None
    working_directory: str
    umask: int
    environment: dict[str, str]
    stdin: str
    overlap: str
    overlap_key: str
    max_running: int
    on_crash: str
    leftovers: str


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """`[retry]`. Times in seconds."""

    attempts: int
    backoff: float
    max_backoff: float
    quarantine_after: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`[limits]`. Times in seconds, sizes in bytes; None: hookd sets no limit."""

    timeout: float
    kill_grace: float
    cpu_time: float | None
    memory: int | None
    processes: int | None
    open_files: int | None
    file_size: int | None
    output: int
    nice: int
    io_class: str
    cpu_affinity: tuple[int, ...] | None
    cpu_weight: int | None


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """One hook with all defaults filled in. `digest` changes when any value changes."""

    name: str
    path: str
    digest: str
    command: Template
    phases: tuple[Phase, ...]
    kind: str
    on_error: str
    obsolete: str
    order: int
    match: Match
    run: Run
    retry: Retry
    limits: Limits

    @property
    def is_gate(self) -> bool:
        """Whether the hook decides whether a job may start."""
        return self.kind == "gate"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration. Two readers get the same `digest` exactly if they read the same bytes."""

    daemon: Daemon
    access: Access
    hooks: dict[str, Hook]
    digest: str


def parse(sources: Sequence[Source]) -> Config:
    """Return the configuration that these files make.

    An empty hook file disables the hook of its name. Drop-ins follow the file that they change.
    Raises ConfigError with all errors of all files, each with its file and key path, what was
    found and what is allowed.
    """
    config, errors = parse_all(sources)
    if errors:
        raise ConfigError(errors)
    return config


def parse_all(sources: Sequence[Source]) -> tuple[Config, list[str]]:
    """Return the configuration as far as it could be parsed, and all errors of all files.

    In it, a value with an error is replaced by its default, and a hook without a command is left
    out. If there are errors, it may only be checked further, never used.
    """
    errors: list[str] = []
    main = _Table(errors, [("", {})], "")
    for source in sources:
        if source.hook is None:
            main = _Table(errors, [(source.path, _toml(errors, source))], "")
    main.known("daemon", "access", "defaults")
    daemon = main.table("daemon").parse(DAEMON)
    access = main.table("access").parse(ACCESS)
    defaults = main.table("defaults")
    hooks: dict[str, Hook] = {}
    _Hook(defaults, None).values()  # reports an error in [defaults] once, with its place
    for name, files in _by_hook(sources).items():
        layers = [(file.path, _toml(errors, file)) for file in files]
        if layers[0][1]:
            table = _Hook(_Table(errors, layers, ""), defaults)
            values = table.values()
            table.check(values)
            if values["command"] is not None:
                hooks[name] = _hook(files[0], values, daemon)
    config = Config(
        daemon=Daemon(**daemon),
        access=Access(**access),
        hooks=dict(sorted(hooks.items(), key=lambda item: (item[1].order, item[0]))),
        digest=digest(sources),
    )
    return config, errors


def _by_hook(sources: Sequence[Source]) -> dict[str, list[Source]]:
    """Return the files of each hook: its own, then its drop-ins."""
    found: dict[str, list[Source]] = {}
    for source in sources:
        if source.hook is not None:
            found.setdefault(source.hook, []).append(source)
    return found


def digest(sources: Sequence[Source]) -> str:
    """Return what identifies a configuration: a digest of the names and bytes of its files."""
    total = hashlib.sha256(usedforsecurity=False)
    for source in sources:
        names = [source.hook or "", source.drop_in or ""]
        for part in (*(name.encode(errors="surrogateescape") for name in names), source.data):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _toml(errors: list[str], source: Source) -> dict[str, Any]:
    if encoding := _foreign(source.data):
        errors.append(
            f"{source.path}: found {encoding}; allowed: TOML in UTF-8 without a byte order mark"
        )
        return {}
    try:
        return tomllib.loads(source.data.decode())
    except UnicodeDecodeError as e:
        errors.append(f"{source.path}: byte {e.start}: not UTF-8; allowed: TOML in UTF-8")
    except RecursionError:
        errors.append(f"{source.path}: nested too deeply; allowed: tables of keys and values")
    except ValueError as e:  # TOMLDecodeError, and Python's own error for a huge integer
        errors.append(f"{source.path}: not TOML: {e}")
    return {}


def _hook_digest(values: dict[str, Any]) -> str:
    text = repr(sorted(values.items(), key=str))
    return hashlib.sha256(text.encode(), usedforsecurity=False).hexdigest()


def _foreign(data: bytes) -> str | None:
    """Return in words which encoding other than plain UTF-8 the file has; None if none is seen."""
    if data.startswith(b"\xef\xbb\xbf"):
        return "a byte order mark (BOM) at the beginning"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16 (or UTF-32), by its byte order mark"
    if len(data) >= 4 and b"\0" in data[:4] and data[:4].strip(b"\0"):
        return "NUL bytes as in UTF-16 without a byte order mark"
    return None


def _hook(source: Source, values: dict[str, Any], daemon: dict[str, Any]) -> Hook:
    run = dict(values["run"])
    if run["max_running"] is None:
        run["max_running"] = max(1, daemon["max_running"] // 2)
    return Hook(
        name=source.hook or "",
        path=source.path,
        digest=_hook_digest(values),
        command=values["command"],
        phases=tuple(Phase(p) for p in values["phases"]),
        kind=values["kind"],
        on_error=values["on_error"],
        obsolete=values["obsolete"],
        order=values["order"],
        match=Match(**values["match"]),
        run=Run(**run),
        retry=Retry(**values["retry"]),
        limits=Limits(**values["limits"]),
    )


class _Table:
    """One TOML table that is being parsed; it collects errors with file and key path.

    `layers` are the files that have the table, each with its content there; later ones override.
    """

    def __init__(
        self, errors: list[str], layers: list[tuple[str, dict[str, Any]]], prefix: str
    ) -> None:
        self.errors = errors
        self.layers = layers
        self.content = _merged([content for _, content in layers])
        self.prefix = prefix

    def error(self, key: str, message: str) -> None:
        """Add an error at a key of this table, with the last file that sets the key."""
        first = key.partition(".")[0]
        path = next((p for p, c in reversed(self.layers) if first in c), self.layers[0][0])
        self.errors.append(f"{path}: {self.prefix}{key}: {message}")

    def known(self, *keys: str) -> None:
        """Add an error for each key that is not one of these."""
        for key in self.content:
            if key not in keys:
                import difflib  # needed only for errors, so daemons do not load it

                near = difflib.get_close_matches(key, keys, 1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                self.error(key, f"found an unknown key{hint}; allowed: {' '.join(keys)}")

    def table(self, key: str) -> _Table:
        """Return the table of this name, or an empty one if there is none."""
        layers = [(path, content[key]) for path, content in self.layers if key in content]
        for path, content in layers:
            if not isinstance(content, dict):
                where = f"{path}: {self.prefix}{key}"
                self.errors.append(f"{where}: found {shown(content)}; allowed: a table")
        tables = [(path, content) for path, content in layers if isinstance(content, dict)]
        if not tables:
            tables.append((self.layers[0][0], {}))
        return _Table(self.errors, tables, f"{self.prefix}{key}.")

    def parse(self, options: Sequence[Option], below: _Table | None = None) -> dict[str, Any]:
        """Return the value of each option: from this table, from `below`, or its default."""
        self.known(*(option.key for option in options))
        return {option.key: self.value(option, below) for option in options}

    def value(self, option: Option, below: _Table | None) -> Any:
        """Return the value of one option, or its default if its value here has an error."""
        if option.key in self.content:
            try:
                return option.kind.parse(self.content[option.key])
            except ValueError as e:
                self.error(option.key, str(e))
        elif below is not None and option.key in below.content:
            with suppress(ValueError):  # the error is reported once, for the table that has it
                return option.kind.parse(below.content[option.key])
        return None if option.default is None else option.kind.parse(option.default)


def _merged(contents: Sequence[dict[str, Any]], depth: int = TABLES_DEEP) -> dict[str, Any]:
    """Return tables merged key by key, including nested tables; later ones override."""
    if len(contents) == 1:
        return contents[0]
    found: dict[str, Any] = {}
    for content in contents:
        for key, value in content.items():
            below = found.get(key)
            if depth and isinstance(below, dict) and isinstance(value, dict):
                value = _merged([below, value], depth - 1)
            found[key] = value
    return found


class _Hook:
    """A hook's files, which override `[defaults]`, which override the option table."""

    def __init__(self, own: _Table, defaults: _Table | None) -> None:
        self.own = own
        self.defaults = defaults

    def values(self) -> dict[str, Any]:
        """Return the value of every option; each nested table is a dictionary."""
        own, defaults = self.own, self.defaults
        own.known(*(option.key for option in HOOK), *HOOK_TABLES)
        values = {option.key: own.value(option, defaults) for option in HOOK}
        for name, options in HOOK_TABLES.items():
            below = defaults.table(name) if defaults and _is_table(defaults, name) else None
            values[name] = own.table(name).parse(options, below)
        return values

    def check(self, values: dict[str, Any]) -> None:
        """Add an error for each combination of values that makes no sense."""
        own, defaults = self.own, self.defaults
        given = "command" in own.content or (defaults and "command" in defaults.content)
        if values["command"] is None and not given:
            own.error("command", "missing; allowed: an absolute program and its arguments")
        phases, match, retry = values["phases"], values["match"], values["retry"]
        if Phase.END not in phases:
            for key in ("outcome", "min_bytes"):
                if match[key] is not None:
                    own.error(
                        f"match.{key}",
                        'found with phases that have no "end", so it would never match; '
                        'allowed: with the phase "end"',
                    )
        if values["kind"] == "gate" and Phase.START not in phases:
            own.error("kind", 'found "gate" without the phase "start"; allowed: a gate at a start')
        if retry["max_backoff"] < retry["backoff"]:
            own.error(
                "retry.max_backoff",
                f"found {retry['max_backoff']:g} s, below retry.backoff; "
                f"allowed: at least {retry['backoff']:g} s",
            )


def _is_table(table: _Table, key: str) -> bool:
    return isinstance(table.content.get(key, {}), dict)
