# SPDX-License-Identifier: LGPL-2.1-or-later
"""Decides which hooks match an event, and by which rule. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from hookd.config.options import BuildCondition
from hookd.config.parse import Config, Hook
from hookd.model import Event, Phase


class MatchResult(msgspec.Struct, frozen=True):
    """Whether a hook runs on an event, the key of its file that decided, and a sentence."""

    matched: bool
    rule: str
    reason: str


def matching(config: Config, event: Event) -> list[Hook]:
    """Return the hooks that match this event, in their start order."""
    return [hook for hook in config.hooks.values() if not _objection(hook, event)]


def explain(hook: Hook, event: Event) -> MatchResult:
    """Return which rule decided about a hook and an event, and why."""
    rule = _objection(hook, event)
    if rule == "phases":
        return MatchResult(False, rule, f"runs at {' and '.join(hook.phases)} only")
    if rule:
        key = rule.removeprefix("match.")
        if key in _AT_END and event.phase is Phase.START:
            return MatchResult(False, rule, "is known only when a job ends")
        return MatchResult(False, rule, f"the job's {_NAMES[key]} is {_VALUES[key](event)!r}")
    given = [key for key in _RULES if getattr(hook.match, key) is not None]
    if not given:
        return MatchResult(True, "match", "has no [match]: runs for every job")
    return MatchResult(True, "match." + given[-1], f"every key matches: {', '.join(given)}")


def overlap_key(hook: Hook, event: Event) -> str:
    """Return the overlap key of a run, at most 64 characters: runs that share it are rivals."""
    key = _OVERLAP_KEYS[hook.run.overlap_key](event)
    if len(key) <= 64:
        return key
    return hashlib.sha256(key.encode(), usedforsecurity=False).hexdigest()


def overlap_key_by_name(config: Config, name: str, event: Event) -> str:
    """Return the overlap key of a run whose hook may no longer be configured."""
    hook = config.hooks.get(name)
    return overlap_key(hook, event) if hook is not None else ""


def _objection(hook: Hook, event: Event) -> str | None:
    """Return the first rule that the event does not meet, None if it meets all."""
    if event.phase not in hook.phases:
        return "phases"
    for key, accepts in _RULES.items():
        wanted = getattr(hook.match, key)
        if wanted is not None and not accepts(wanted, event):
            return "match." + key
    return None


def _address_in(networks: tuple[Any, ...], event: Event) -> bool:
    address = ipaddress.ip_address(event.client_ip.partition("%")[0])
    forms = [address]
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        forms.append(address.ipv4_mapped)  # a dual-stack socket shows IPv4 clients so
    return any(form in network for network in networks for form in forms)


def _build_accepted(wanted: tuple[BuildCondition | str, ...], event: Event) -> bool:
    return any(
        rule.holds(event.client_build_no)
        if isinstance(rule, BuildCondition)
        else fnmatchcase(event.client_build_no, rule)
        for rule in wanted
    )


_RULES: dict[str, Callable[[Any, Event], bool]] = {
    "profile": lambda wanted, e: any(fnmatchcase(e.profile, p) for p in wanted),
    "user": lambda wanted, e: any(fnmatchcase(e.user, p) for p in wanted),
    "client_ip": _address_in,
    "client_build_no": _build_accepted,
    "outcome": lambda wanted, e: e.outcome in wanted,
    "min_bytes": lambda wanted, e: e.phase is Phase.END and e.byte_count >= wanted,
}

_VALUES: dict[str, Callable[[Event], object]] = {
    "profile": lambda e: e.profile,
    "user": lambda e: e.user,
    "client_ip": lambda e: e.client_ip,
    "client_build_no": lambda e: e.client_build_no,
    "outcome": lambda e: str(e.outcome) if e.outcome else None,
    "min_bytes": lambda e: e.byte_count,
}

_AT_END = ("outcome", "min_bytes")

_NAMES = {
    "profile": "profile",
    "user": "user",
    "client_ip": "client_ip",
    "client_build_no": "client_build_no",
    "outcome": "outcome",
    "min_bytes": "byte_count",
}

_OVERLAP_KEYS: dict[str, Callable[[Event], str]] = {
    "hook": lambda _: "",
    "profile": lambda e: e.profile,
    "user": lambda e: e.user,
    "client": lambda e: e.client_ip,
}
