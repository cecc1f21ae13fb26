# SPDX-License-Identifier: LGPL-2.1-or-later
"""The option table: every key of the configuration, its kind, its default, its meaning.

The parser, its errors and the manual page use this one table. A kind converts a TOML value to the
value that hookd uses, or raises ValueError with `found …; allowed: …`. Pure.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from hookd.config.template import Template
from hookd.model import INT_MAX, Outcome, Phase

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def shown(value: object) -> str:
    """Return a TOML value as an error shows it: on one line of at most 80 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:  # TOML's dotted keys can nest to any depth
        return "a value nested too deeply"
    return text if len(text) <= 80 else text[:77] + "..."


def refuse(value: object, allowed: str) -> ValueError:
    """Return the error for a value that is not allowed."""
    return ValueError(f"found {shown(value)}; allowed: {allowed}")


class ValueType(msgspec.Struct, frozen=True):
    """A kind of value: the text of what is allowed, the function that parses it, and its unit.

    `unit` is that of the values that `parse` returns: "s" or "bytes", or "" for none.
    """

    allowed: str
    parse: Callable[[Any], Any]
    unit: str = ""


class Option(msgspec.Struct, frozen=True):
    """One key: its name, kind, default as written in TOML (None: not set), and meaning."""

    key: str
    kind: ValueType
    default: Any
    meaning: str


_TIME_UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86400,
    "w": 7 * 86400,
}  # fmt: skip
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_TIME = re.compile(r"(?:\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+))+\s*", re.ASCII)
_TIME_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,19})([KMGT]?)", re.ASCII)
_MAX_TIME = 100 * 366 * 86400.0  # seconds; a longer time is a typing error


def time(least: float = 0.001, never: bool = False) -> ValueType:
    """Return the kind of a duration, in seconds (a float; None for "never").

    The units are the usual ones of systemd.time(7).
    """
    allowed = (
        f'a time with a unit, such as "90s", "10min" or "1h 30min", from {least:g} s to 100 years'
    )
    if never:
        allowed += ', or "never"'

    def parse(value: Any) -> float | None:
        if never and value == "never":
            return None
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            raise refuse(value, allowed)
        total = 0.0
        for number, unit in _TIME_PART.findall(value):
            if unit not in _TIME_UNITS:
                raise refuse(value, allowed)
            total += float(number) * _TIME_UNITS[unit]
        if not least <= total <= _MAX_TIME:
            raise refuse(value, allowed)
        return total

    return ValueType(allowed, parse, "s")


def size(least: int = 0) -> ValueType:
    """Return the kind of a size, in bytes; K M G T are powers of 1024."""
    allowed = (
        f'a size such as "512M" (K, M, G, T of 1024) or a number of bytes, from {least} to 2^63-1'
    )

    def parse(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, str) and (match := _SIZE.fullmatch(value)):
            number = int(match[1]) * _SIZE_UNITS[match[2]]
        else:
            raise refuse(value, allowed)
        if not least <= number <= INT_MAX:
            raise refuse(value, allowed)
        return number

    return ValueType(allowed, parse, "bytes")


def whole(least: int, most: int) -> ValueType:
    """Return the kind of a whole number between two bounds, inclusive."""
    allowed = f"a whole number from {least} to {most}"

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise refuse(value, allowed)
        return value

    return ValueType(allowed, parse)


def choice(*words: str) -> ValueType:
    """Return the kind of a fixed set of words."""
    allowed = ", ".join(f'"{w}"' for w in words[:-1]) + f' or "{words[-1]}"'

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise refuse(value, allowed)
        return value

    return ValueType(allowed, parse)


def several(entry: ValueType, what: str) -> ValueType:
    """Return the kind of one value of `entry` or a non-empty list of them (a tuple)."""
    allowed = f"{what}, or a list of such that is not empty"

    def parse(value: Any) -> tuple[Any, ...]:
        if value == []:
            raise refuse(value, allowed)
        found = []
        for item in value if isinstance(value, list) else [value]:
            try:
                found.append(entry.parse(item))
            except ValueError:
                raise refuse(item, allowed) from None
        return tuple(found)

    return ValueType(allowed, parse)


def text(allowed: str, accept: Callable[[str], bool]) -> ValueType:
    """Return the kind of a string for which `accept` returns true."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or "\0" in value or not accept(value):
            raise refuse(value, allowed)
        return value

    return ValueType(allowed, parse)


class BuildCondition(msgspec.Struct, frozen=True):
    """A condition on a client's build number, such as `>=563`; dotted numbers compare by parts."""

    operator: str
    build: tuple[int, ...]

    def holds(self, build_no: str) -> bool:
        """Return whether the condition is true of a build number (never if it is not a number)."""
        if not _BUILD.fullmatch(build_no):
            return False
        theirs, ours = _build(build_no), self.build
        width = max(len(theirs), len(ours))
        theirs += (0,) * (width - len(theirs))
        ours += (0,) * (width - len(ours))
        return {
            "<": theirs < ours,
            "<=": theirs <= ours,
            ">": theirs > ours,
            ">=": theirs >= ours,
            "=": theirs == ours,
            "!=": theirs != ours,
        }[self.operator]


_BUILD = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})*", re.ASCII)
_CONDITION = re.compile(r"(<=|>=|!=|==|<|>|=)?\s*(.*)", re.ASCII | re.DOTALL)
_BUILD_ALLOWED = 'a condition such as ">=563" (< <= > >= = !=) or a shell pattern such as "5.*"'


def _build(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in number.split("."))


def _parse_build(value: Any) -> BuildCondition | str:
    match = _CONDITION.fullmatch(value) if isinstance(value, str) and value else None
    if match is None:
        raise refuse(value, _BUILD_ALLOWED)
    operator, number = match.groups()
    if operator is None:
        return str(value)
    if not _BUILD.fullmatch(number):
        raise refuse(value, _BUILD_ALLOWED)
    return BuildCondition("=" if operator == "==" else operator, _build(number))


def _parse_network(value: Any) -> Network:
    if not isinstance(value, str):
        raise ValueError
    return ipaddress.ip_network(value, strict=False)


def _parse_umask(value: Any) -> int:
    if not isinstance(value, str) or not re.fullmatch("0?[0-7]{3}", value):
        raise refuse(value, UMASK.allowed)
    return int(value, 8)


_ENVIRONMENT_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def _parse_environment(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):  # it may be a misplaced secret, so it is not shown
        raise ValueError(f"found no table; allowed: {ENVIRONMENT.allowed}")
    for key, val in value.items():
        if not _ENVIRONMENT_KEY.fullmatch(key) or key.startswith("HOOKD_"):
            raise ValueError(f"found the name {shown(key)}; allowed: {ENVIRONMENT.allowed}")
        if not isinstance(val, str) or "\0" in val:
            # The value may be a secret, so it is not shown.
            raise ValueError(f"the value of {key} is no text; allowed: {ENVIRONMENT.allowed}")
    return dict(value)


def _parse_command(value: Any) -> Template:
    if not isinstance(value, str):
        raise refuse(value, COMMAND.allowed)
    return Template(value)


def _parse_cpus(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise refuse(value, CPUS.allowed)
    for cpu in value:
        if isinstance(cpu, bool) or not isinstance(cpu, int) or not 0 <= cpu < 4096:
            raise refuse(value, CPUS.allowed)
    return tuple(sorted(set(value)))


PATTERN = text("a shell pattern that is not empty", bool)
PATTERNS = several(PATTERN, "a shell pattern")
NETWORKS = several(
    ValueType("", _parse_network), 'a network such as "10.0.0.0/8" or "fe80::/10", or an address'
)
BUILDS = several(ValueType("", _parse_build), _BUILD_ALLOWED)
PHASES = several(choice(*Phase), '"start" or "end"')
OUTCOMES = several(choice(*Outcome), choice(*Outcome).allowed)
UMASK = ValueType('an octal mask as text, such as "0077"', _parse_umask)
ENVIRONMENT = ValueType(
    'a table of texts without NUL, whose names are letters, digits and "_" and do not begin '
    "with HOOKD_",
    _parse_environment,
)
COMMAND = ValueType("an absolute program and its arguments, as text", _parse_command)
CPUS = ValueType("a list of CPU numbers that is not empty", _parse_cpus)
_PRINCIPAL = re.compile(r"[^\s:/@\0][^\s:/\0]*")


def principal(allowed: str) -> ValueType:
    """Return the kind of a user or group: a name or a number, as text."""

    def parse(value: Any) -> str:
        name = str(value) if type(value) is int else value
        if not isinstance(name, str) or not _PRINCIPAL.fullmatch(name) or name[0] == "-":
            raise refuse(value, allowed)
        return name

    return ValueType(allowed, parse)


USER, GROUP = (principal(f"the name or number of a {what}") for what in ("user", "group"))
DIRECTORY = text("an absolute path", lambda v: v.startswith("/"))
PRINCIPALS_ALLOWED = 'a list of users and "@groups"'


def _parse_principals(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise refuse(value, PRINCIPALS_ALLOWED)
    for item in value:
        if not isinstance(item, str) or not re.fullmatch(r"@?[^\s:/@]+", item):
            raise refuse(item, PRINCIPALS_ALLOWED)
    return tuple(value)


PRINCIPALS = ValueType(PRINCIPALS_ALLOWED, _parse_principals)

# The tables, in the order of the manual page. A default is written as in TOML; None: not set.

DAEMON = (
    Option("max_running", whole(1, 10_000), 64, "the number of hooks that run at a time"),
    Option("max_queue", whole(1, 1_000_000), 10_000, "the number of runs that may wait"),
    Option("job_ids", choice("persistent", "per-boot"), "persistent",
           "persistent: never repeated; per-boot: starting at 1 at each boot, as in Syncrify"),
    Option("lost_after", time(1, never=True), "24h",
           'how long a job may run before it gets the outcome lost; "never": it stays open'),
    Option("drain", time(), "60s", "how long a stop waits for running hooks"),
    Option("history", time(60, never=True), "90d",
           'how long finished jobs are kept; "never": none is deleted'),
)  # fmt: skip

ACCESS = (
    Option("submit", PRINCIPALS, ["@hookd", "root"], "who may call io.hookd.Jobs"),
    Option("manage", PRINCIPALS, ["root"],
           "who may call the methods of io.hookd.Manager that change something"),
)  # fmt: skip

HOOK = (
    Option("command", COMMAND, None,
           "the program and its arguments, split into words as in a POSIX shell; variables are "
           "expanded inside each word; no shell is involved"),
    Option("phases", PHASES, ["start", "end"], "the events of a job that the hook runs on"),
    Option("kind", choice("notify", "gate"), "notify", "a gate may refuse the start of a job"),
    Option("on_error", choice("deny", "allow"), "deny",
           "what happens to the job if a gate cannot run or does not decide in time"),
    Option("obsolete", choice("run", "skip"), "run",
           "what happens to a start hook that still waits when its job has ended"),
    Option("order", whole(-1_000_000, 1_000_000), 50,
           "start order among the hooks of one phase, lowest first"),
)  # fmt: skip

MATCH = (
    Option("profile", PATTERNS, None, "the name of the profile, as it was given"),
    Option("user", PATTERNS, None, "the user"),
    Option("client_ip", NETWORKS, None, "the address of the client, without a zone"),
    Option("client_build_no", BUILDS, None, "the build number of the client"),
    Option("outcome", OUTCOMES, None, "the outcome of the job; matches only at the end"),
    Option("min_bytes", size(1), None, "the least number of bytes; matches only at the end"),
)

RUN = (
    Option("user", USER, None,
           "the user that the hook runs as, hookd-hooks by default; a runner without privileges "
           "runs all hooks as its own user and accepts no other"),
    Option("group", GROUP, None,
           "the group that the hook runs with, by default that of the user; the supplementary "
           "groups are those that the user is a member of"),
    Option("working_directory", DIRECTORY, "/", "the working directory in which it starts"),
    Option("umask", UMASK, "0077", "its file mode creation mask"),
    Option("environment", ENVIRONMENT, {}, "additional environment variables"),
    Option("stdin", choice("json", "null"), "json",
           "json: the event as one JSON document; null: nothing"),
    Option("overlap", choice("parallel", "serial", "skip", "replace"), "parallel",
           "what happens if another run with the same key has not ended: run at the same time, "
           "run after it, skip this run, or cancel the other one"),
    Option("overlap_key", choice("hook", "profile", "user", "client"), "hook",
           "which runs of this hook have the same key for overlap: all, or those of one profile, "
           "one user or one client"),
    Option("max_running", whole(1, 10_000), None,
           "the number of runs of this hook at a time, by default half of daemon.max_running, so "
           "that one stuck hook leaves room for the others"),
    Option("on_crash", choice("report", "rerun"), "report",
           "what happens to a run that the end of the runner cut short; it is reported anyway"),
    Option("leftovers", choice("kill", "warn"), "kill",
           "what happens to processes that are alive after the hook has ended"),
)  # fmt: skip

RETRY = (
    Option("attempts", whole(1, 1000), 1, "the number of attempts in all; 1: no retry"),
    Option("backoff", time(), "10s", "the wait before the second attempt; it doubles each time"),
    Option("max_backoff", time(), "10min", "the longest wait between two attempts"),
    Option("quarantine_after", whole(0, 1_000_000), 0,
           "the number of failures in a row after which the hook is parked; 0: never"),
)  # fmt: skip

LIMITS = (
    Option("timeout", time(), "10min", "the time limit, from the start of the process"),
    Option("kill_grace", time(0), "10s", "the time between SIGTERM and SIGKILL"),
    Option("cpu_time", time(1), None, "the CPU time of a process (RLIMIT_CPU), in whole seconds"),
    Option("memory", size(1 << 20), None, "the memory of the whole process tree"),
    Option("processes", whole(1, 4_194_304), None, "the number of processes of the whole tree"),
    Option("open_files", whole(8, 1_048_576), None, "descriptors of a process (RLIMIT_NOFILE)"),
    Option("file_size", size(), None, "the size of a file that it writes (RLIMIT_FSIZE)"),
    Option("output", size(), "1M", "the output that is logged; the rest is counted and dropped"),
    Option("nice", whole(-20, 19), 0, "the nice value"),
    Option("io_class", choice("none", "realtime", "best-effort", "idle"), "none",
           "the I/O scheduling class"),
    Option("cpu_affinity", CPUS, None, "the CPUs it may run on"),
    Option("cpu_weight", whole(1, 10_000), None,
           "the share of the CPU compared with other runs; needs cgroup v2 delegation"),
)  # fmt: skip

HOOK_TABLES = {"match": MATCH, "run": RUN, "retry": RETRY, "limits": LIMITS}
"""The tables of a hook file; `HOOK` is its top level."""
