# SPDX-License-Identifier: LGPL-2.1-or-later
"""A hook as operators see it: what it is doing, when it is tried again, what limits it has."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from hookd.config.options import LIMITS
from hookd.config.parse import Hook, Limits
from hookd.model import Event, HookRun, Phase
from hookd.server.dispatch.dispatcher import Dispatcher
from hookd.server.dispatch.matching import explain


class HookInfo(msgspec.Struct, kw_only=True):
    """One hook of ListHooks, as the interface file's `type Hook` shows it."""

    name: str
    path: str
    command: str
    kind: str
    phases: list[Phase]
    order: int
    user: str | None
    group: str | None
    timeout_usec: int
    running: int
    waiting: int
    max_running: int
    failures: int
    parked: bool
    unusable: str | None
    next_retry_usec: int | None
    last: HookRun | None


class Explanation(msgspec.Struct, kw_only=True):
    """One verdict of Explain."""

    hook: str
    phase: Phase
    matched: bool
    rule: str
    reason: str
    limits: dict[str, Any]


def explanation(hook: Hook, event: Event) -> Explanation:
    """Say whether a hook matches an event, and what limits its run has."""
    match = explain(hook, event)
    return Explanation(
        hook=hook.name,
        phase=event.phase,
        matched=match.matched,
        rule=match.rule,
        reason=match.reason,
        limits=_limits(hook.limits),
    )


def info(
    dispatcher: Dispatcher,
    hook: Hook,
    last: HookRun | None,
    retry: int | None,
    unusable: str | None,
) -> HookInfo:
    """Tell of a hook; `retry` is one of `next_retries`, `unusable` why it cannot be started."""
    running, waiting = dispatcher.scheduler.counts(hook.name)
    return HookInfo(
        name=hook.name,
        path=hook.path,
        command=hook.command.text,
        kind=hook.kind,
        phases=list(hook.phases),
        order=hook.order,
        user=hook.run.user,
        group=hook.run.group,
        timeout_usec=_usec(hook.limits.timeout),
        running=running,
        waiting=waiting,
        max_running=hook.run.max_running,
        failures=dispatcher.quarantine.failures.get(hook.name, 0),
        parked=hook.name in dispatcher.scheduler.parked,
        unusable=unusable,
        next_retry_usec=retry,
        last=last,
    )


def next_retries(dispatcher: Dispatcher, now_usec: int) -> dict[str, int]:
    """Return when the next attempt of each hook that waits for one is due, in real time."""
    now = time.monotonic()
    found: dict[str, int] = {}
    for run in dispatcher.registry.all():
        due = run.due
        if due is not None and due > now:
            usec = now_usec + _usec(due - now)
            found[run.hook] = min(usec, found.get(run.hook, usec))
    return found


def _limits(limits: Limits) -> dict[str, Any]:
    """Return `type Limits` of the interface: named as in a hook's file, times in microseconds."""
    found: dict[str, Any] = {}
    for option in LIMITS:
        value = getattr(limits, option.key)
        if option.kind.unit == "s":
            found[f"{option.key}_usec"] = None if value is None else _usec(value)
        else:
            found[option.key] = value
    return found


def _usec(seconds: float) -> int:
    return int(seconds * 1e6)
