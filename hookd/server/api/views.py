# SPDX-License-Identifier: LGPL-2.1-or-later
"""A hook as operators see it: its state, its next retry, its limits."""

from __future__ import annotations

import time

from hookd import manager_api
from hookd.config.options import LIMITS
from hookd.config.parse import Hook, Limits
from hookd.manager_api import Explanation
from hookd.model import Event, HookRun
from hookd.server.dispatch.dispatcher import Dispatcher
from hookd.server.dispatch.matching import explain


def explanation(hook: Hook, event: Event) -> Explanation:
    """Return whether a hook matches an event, and the limits of its runs."""
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
) -> manager_api.Hook:
    """Return a hook. `retry` comes from `next_retries`; `unusable` is why it cannot be started."""
    running, waiting = dispatcher.scheduler.counts(hook.name)
    return manager_api.Hook(
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
    """Return the time of the next attempt of each hook that has a retry waiting."""
    now = time.monotonic()
    found: dict[str, int] = {}
    for run in dispatcher.registry.all():
        due = run.due
        if due is not None and due > now:
            usec = now_usec + _usec(due - now)
            found[run.hook] = min(usec, found.get(run.hook, usec))
    return found


def _limits(limits: Limits) -> manager_api.Limits:
    """Return the limits with the names of the hook file, and times in microseconds."""
    found: manager_api.Limits = {}
    for option in LIMITS:
        value = getattr(limits, option.key)
        if option.kind.unit == "s":
            found[f"{option.key}_usec"] = None if value is None else _usec(value)
        else:
            found[option.key] = value
    return found


def _usec(seconds: float) -> int:
    return int(seconds * 1e6)
