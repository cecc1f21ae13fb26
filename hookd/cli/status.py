# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl status and hooks: show the state of the daemon and of its hooks."""

from __future__ import annotations

import time

from hookd.cli.base import DONE, REFUSED, Settings
from hookd.cli.command import command
from hookd.cli.draw import at, paint, table
from hookd.cli.words import ended, span
from hookd.manager_api import (
    GetStatus,
    GetStatusReply,
    Hook,
    ListHooks,
    ListHooksReply,
    Status,
)
from hookd.system.terminal import print_json, say


@command()
def status(settings: Settings) -> int:
    """Show whether hookd is healthy, and what is wrong.

    The exit status is 1 if something is wrong, and 3 if no daemon answers.
    """
    with settings.client() as hookd:
        asked = GetStatus()
        found = hookd.call("io.hookd.Manager.GetStatus", asked, GetStatusReply, repeat=True).status
    if settings.json:
        print_json(found)
    else:
        _show(found)
    return DONE if found.healthy else REFUSED


def _show(found: Status) -> None:
    age = span(max(0, time.time_ns() // 1000 - found.started_usec))
    say(paint("healthy" if found.healthy else "failed: see below"))
    rows = [
        ("hookd", f"{found.version}, pid {found.pid}, for {age}"),
        ("runner", _runner(found)),
        ("hooks", f"{found.hooks} configured, {len(found.parked_hooks)} parked"),
        ("running", f"{found.running} of {found.max_running}"),
        ("waiting", f"{found.waiting} of {found.max_queue}"),
        ("jobs", "unknown" if found.open_jobs is None else f"{found.open_jobs} open"),
        ("clients", f"{found.connections} connected"),
    ]
    if found.faults or found.runner_faults:
        rows.append(("faults", _faults(found)))
    for name, value in rows:
        say(f"  {name:<8} {value}")
    for hook in found.parked_hooks:
        say(f"parked: {hook} (hookctl resume {hook} frees it)")
    for hook, reason in found.unusable_hooks.items():
        say(f"unusable: {hook}: {reason}")
    for problem in found.problems:
        say(f"problem: {problem}")
    for note in found.notes:
        say(f"note: {note}")


def _runner(found: Status) -> str:
    version = f"{found.runner_version}, " if found.runner_version is not None else ""
    state = "connected" if found.runner_connected else "NOT CONNECTED: nothing can start"
    return version + state


def _faults(found: Status) -> str:
    counts = ((found.faults, "hookd"), (found.runner_faults, "the runner"))
    told = ", ".join(f"{count} of {process}" for count, process in counts if count)
    return f"{told}: errors of hookd's own (journalctl -t hookd -g 'error of hookd')"


@command()
def hooks(settings: Settings) -> int:
    """List the hooks with their last results.

    They are in their start order."""
    with settings.client() as hookd:
        asked = ListHooks()
        found = hookd.call("io.hookd.Manager.ListHooks", asked, ListHooksReply, repeat=True).hooks
    if settings.json:
        print_json(found)
        return DONE
    headings = (
        "HOOK", "KIND", "PHASES", "STATE", "FAILURES", "NEXT RETRY", "LAST RESULT", "AT",
        "COMMAND",
    )  # fmt: skip
    table(headings, [_row(hook) for hook in found], ("COMMAND", "KIND", "PHASES"))
    for hook in found:
        if hook.unusable is not None:
            say(f"unusable: {hook.name}: {hook.unusable}")
    return DONE


def _row(hook: Hook) -> list[object]:
    last = hook.last
    return [
        hook.name,
        hook.kind,
        ",".join(hook.phases),
        _state(hook),
        hook.failures,
        at(hook.next_retry_usec),
        ended(last) if last else "-",
        at(last.ended_usec) if last else "-",
        hook.command,
    ]


def _state(hook: Hook) -> str:
    if hook.parked:
        return "parked"
    if hook.unusable is not None:
        return "unusable"
    counts = [(hook.running, "running"), (hook.waiting, "waiting")]
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "ready"
