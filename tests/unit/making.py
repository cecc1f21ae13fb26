# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of the decisions are fed with: configurations from text, events, receipts."""

from __future__ import annotations

from typing import Any

from hookd.config.parse import Config, Source, parse
from hookd.model import Event, HookRun, Phase, Receipt, Result, RunState
from hookd.server.runs.run import Run
from hookd.server.runs.watchers import JobEvent


def configuration(settings: str = "", **hooks: str) -> Config:
    """Return the configuration of these texts; a hook's command is added where it has none."""
    sources = [Source("hookd.toml", None, settings.encode())]
    for name, text in hooks.items():
        whole = text if "command" in text else 'command = "/bin/true"\n' + text
        sources.append(Source(f"hooks.d/{name}.toml", name, whole.encode()))
    return parse(sources)


def event(phase: Phase = Phase.START, **values: Any) -> Event:
    """Return an event, ordinary but for these values."""
    common: dict[str, Any] = {
        "job_id": 1,
        "profile": "docs",
        "user": "ann@example.com",
        "client_ip": "192.0.2.7",
        "client_build_no": "563",
    }
    return Event(phase=phase, **(common | values))


def receipt(result: Result = Result.SUCCESS, **values: Any) -> Receipt:
    """Return the receipt of a run."""
    return Receipt(result=result, **({"ended_usec": 1} | values))


def waiting_run(
    run_id: int,
    hook: str,
    job: int | None = None,
    phase: Phase = Phase.START,
    attempt: int = 1,
    **values: Any,
) -> Run:
    """Return a run that waits; without `job`, of a job of its own."""
    info = HookRun(run_id=run_id, hook=hook, phase=phase, attempt=attempt, state=RunState.WAITING)
    key = 1000 + run_id if job is None else job
    return Run(info=info, event=JobEvent(key, key, phase), **values)
