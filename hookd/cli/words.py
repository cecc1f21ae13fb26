# SPDX-License-Identifier: LGPL-2.1-or-later
"""Texts for people: sizes, times, results, and text that is escaped for a terminal."""

from __future__ import annotations

import time

from hookd.model import HookRun, Job, JobState, Result, RunState, last_attempts
from hookd.system.terminal import escaped


def cell(value: object) -> str:
    """Return a value for a table, escaped; tabs too, because they would shift the columns."""
    return escaped(str(value)).replace("\t", r"\x09")


def size(count: int | None) -> str:
    """Return bytes in the units of the configuration, powers of 1024: 1536 is 1.5K."""
    if count is None:
        return "-"
    if count < 1000:
        return f"{count}B"
    number, unit = count / 1024, "K"
    for larger in "MGT":
        if number < 1000:
            break
        number, unit = number / 1024, larger
    return f"{number:.3g}{unit}" if number < 100 else f"{number:.0f}{unit}"


def span(usec: int | None) -> str:
    """Return a duration, given in microseconds, in at most two units."""
    if usec is None:
        return "-"
    if usec < 1_000_000:
        return f"{usec / 1000:.0f}ms" if usec >= 1000 else f"{usec}us"
    if usec < 60_000_000:
        return f"{usec / 1_000_000:.3g}s"
    seconds = usec // 1_000_000
    for large, small, name, part in (
        (86400, 3600, "d", "h"),
        (3600, 60, "h", "min"),
        (60, 1, "min", "s"),
    ):
        if seconds >= large:
            rest = seconds % large // small
            return f"{seconds // large}{name}" + (f" {rest}{part}" if rest else "")
    raise AssertionError("a minute at least")


def moment(usec: int | None) -> str:
    """Return a moment, given in microseconds since 1970, in local time."""
    if usec is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(usec / 1_000_000))


def ended(run: HookRun) -> str:
    """Return how a run ended, with the number, name or reason that belongs to it."""
    detail: object = None
    match run.result:
        case None:
            return run.state.value
        case Result.FAILED:
            detail = f"exit status {run.exit_status}"
        case Result.SIGNALLED:
            detail = run.signal
        case Result.TIMEOUT:
            detail = None if run.reason else f"after {span(run.duration_usec)}"
        case Result.LIMIT:
            detail = run.limit
    words = [str(part) for part in (run.result.value, detail) if part]
    text = " ".join(words)
    return f"{text}: {run.reason}" if run.reason else text


def job_state(job: Job) -> str:
    """Return the state of a job in one word: its outcome if it has one."""
    ended = job.state is JobState.ENDED and job.outcome is not None
    word = str(job.outcome) if ended else job.state.value
    return f"{word} (test)" if job.test else word


def hooks_in_short(job: Job) -> str:
    """Return the number of the job's hooks for each result, by their last attempts.

    For instance `2 success, 1 timeout`.
    """
    counts: dict[str, int] = {}
    for run in last_attempts(job.hooks):
        word = run.result.value if run.state is RunState.ENDED and run.result else run.state.value
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{number} {word}" for word, number in counts.items()) or "-"


def job_age(job: Job, now_usec: int) -> int:
    """Return how long the job lasted or lasts, in microseconds."""
    return max(0, (job.ended_usec or now_usec) - job.started_usec)
