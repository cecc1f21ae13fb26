# SPDX-License-Identifier: LGPL-2.1-or-later
"""The types that all parts of hookd share; all of them are values.

Each has the same name on the wire, in the database, in a command (`$PROFILE`), in a
hook's environment (`HOOKD_PROFILE`) and in the journal. Times are microseconds: of the real-time
clock where the name ends in `_usec` and is a moment, a length where it is `duration_usec` or
`cpu_usec`. Sizes are bytes. Nothing here reads a clock, a file or a process.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

INT_MAX = 2**63 - 1  # the largest count: SQLite, Java's long and Varlink's int all end here


class Phase(StrEnum):
    """The event of a job that a run belongs to."""

    START = "start"
    END = "end"


class Outcome(StrEnum):
    """How a job ended, as the backup server reports it; `lost` if it never reported the end."""

    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"
    CANCELED = "canceled"
    UNKNOWN = "unknown"
    LOST = "lost"


class JobState(StrEnum):
    """`running` until the end of the job; `refused` if a gate refused the start."""

    RUNNING = "running"
    ENDED = "ended"
    REFUSED = "refused"


class RunState(StrEnum):
    """Whether a run waits to be started, runs or has ended."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


class Result(StrEnum):
    """How a run ended; `interrupted` if the runner itself ended during the run."""

    SUCCESS = "success"
    SKIPPED = "skipped"
    FAILED = "failed"
    SIGNALLED = "signalled"
    TIMEOUT = "timeout"
    LIMIT = "limit"
    SPAWN_FAILED = "spawn-failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


FAILURES = frozenset(
    {Result.FAILED, Result.SIGNALLED, Result.TIMEOUT, Result.LIMIT, Result.SPAWN_FAILED}
)
"""Results that are the hook's own failure: these are retried and counted for quarantine."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook is told about its job: the source of every variable.

    Counts are 0 and `outcome` is None at the start of a job. `duration_usec` is the job's age
    at its end. `test` marks a run that an operator asked for.
    """

    phase: Phase
    job_id: int
    profile: str
    user: str
    client_ip: str
    client_build_no: str
    server_job_id: str | None = None
    attributes: dict[str, str] = {}
    file_count: int = 0
    byte_count: int = 0
    outcome: Outcome | None = None
    message: str | None = None
    duration_usec: int = 0
    test: bool = False


class HookRun(msgspec.Struct, kw_only=True):
    """One invocation of a hook, as the contract's `type HookRun` shows it.

    None where something is not known yet or does not apply. `leftovers` is the number of
    processes found alive after the main one had ended, `survivors` how many of them outlived
    even SIGKILL.
    """

    run_id: int
    hook: str
    phase: Phase
    attempt: int
    state: RunState
    result: Result | None = None
    exit_status: int | None = None
    signal: str | None = None
    limit: str | None = None
    reason: str | None = None
    started_usec: int | None = None
    ended_usec: int | None = None
    duration_usec: int | None = None
    cpu_usec: int | None = None
    memory_peak: int | None = None
    output_bytes: int | None = None
    output_dropped: int | None = None
    leftovers: int | None = None
    survivors: int | None = None


def last_attempts(runs: Iterable[HookRun]) -> list[HookRun]:
    """Return the last attempt of each hook in each phase: the one that says how the hook ended."""
    last: dict[tuple[Phase, str], HookRun] = {}
    for run in runs:
        known = last.get((run.phase, run.hook))
        if known is None or run.attempt >= known.attempt:
            last[run.phase, run.hook] = run
    return list(last.values())


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What the runner reports of a run that has ended: `HookRun` from `result` on.

    `last_line` is the last line of output, the reason a gate gives; `reason` says why in words
    where the result needs it (always with `spawn-failed`). `started_usec` is None when nothing
    was started.
    """

    result: Result
    exit_status: int | None = None
    signal: str | None = None
    limit: str | None = None
    reason: str | None = None
    last_line: str | None = None
    started_usec: int | None = None
    ended_usec: int
    duration_usec: int = 0
    cpu_usec: int | None = 0
    memory_peak: int | None = None
    output_bytes: int = 0
    output_dropped: int = 0
    leftovers: int = 0
    survivors: int = 0


class Job(msgspec.Struct, kw_only=True):
    """One job, as the contract's `type Job` shows it: the fields of both calls, and its life."""

    job_id: int
    state: JobState
    profile: str
    user: str
    client_ip: str
    client_build_no: str
    server_job_id: str | None
    request_id: str | None
    attributes: dict[str, str]
    tie: bool
    allowed: bool
    reason: str | None
    file_count: int
    byte_count: int
    outcome: Outcome | None
    message: str | None
    end_request_id: str | None
    started_usec: int
    ended_usec: int | None
    test: bool
    hooks: list[HookRun]
