# SPDX-License-Identifier: LGPL-2.1-or-later
"""The books, afterwards: what was acknowledged against database, journal and side file."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from hookd.system.records import (
    JOB_ENDED,
    JOB_STARTED,
    RUN_ENDED,
    RUN_INTERRUPTED,
    RUN_NOT_STARTED,
)
from tests.crash.traffic import Answer
from tests.support.records import Records

JOURNAL_BEHIND_SEC = 1.0  # what a busy journald may not have taken yet

Run = tuple[int, int, str, str, int]
"""run_id, job_id, phase, hook, attempt: a line of the side file."""


def unknown(answers: Iterable[Answer], database: Path) -> list[Answer]:
    """Return the acknowledged events that the database does not have."""
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = connection.execute(
            "SELECT job_id, phase, events.request_id FROM events JOIN jobs ON key = job"
        )
        known = set(rows.fetchall())
    finally:
        connection.close()
    return [a for a in answers if (a.job_id, a.phase, a.request_id) not in known]


def repeated_or_descending(answers: Sequence[Answer]) -> list[int]:
    """Return the IDs given twice, or given to a request sent after a higher ID was known."""
    starts = [a for a in answers if a.phase == "start"]
    wrong = [i for i, n in Counter(a.job_id for a in starts).items() if n > 1]
    by_answer = sorted(starts, key=lambda a: a.answered)
    highest, at = 0, 0
    for answer in sorted(starts, key=lambda a: a.asked):
        while by_answer[at].answered < answer.asked:
            highest = max(highest, by_answer[at].job_id)
            at += 1
        if answer.job_id < highest:
            wrong.append(answer.job_id)
    return wrong


def side_file(path: Path) -> list[Run]:
    """Return what the hooks have noted themselves."""
    runs = []
    for line in path.read_text().splitlines():
        run_id, job_id, phase, hook, attempt = line.split()
        runs.append((int(run_id), int(job_id), phase, hook, int(attempt)))
    return runs


def started_twice(side: Iterable[Run]) -> list[Run]:
    """Return the runs that were started more than once."""
    seen = Counter(run[1:] for run in side)
    return [(0, *run) for run, times in seen.items() if times > 1]


def without_result(database: Path, hooks_of: dict[str, list[str]]) -> list[str]:
    """Return the runs without a result, and those that an event should have and has not."""
    connection = sqlite3.connect(database)
    try:
        open_runs = connection.execute("SELECT * FROM runs WHERE state <> 'ended'").fetchall()
        events = connection.execute("SELECT job, phase FROM events").fetchall()
        runs = set(connection.execute("SELECT job, phase, hook FROM runs").fetchall())
    finally:
        connection.close()
    missing = [
        f"job {job} {phase} {hook}"
        for job, phase in events
        for hook in hooks_of[phase]
        if (job, phase, hook) not in runs
    ]
    return [str(run) for run in open_runs] + missing


def untrue_results(database: Path, side: Iterable[Run]) -> list[str]:
    """Return results that speak of a program's end, of programs that never ran."""
    noted = {run[0] for run in side}
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute(
            "SELECT run_id, result FROM runs WHERE result IN ('success', 'failed')"
        ).fetchall()
    finally:
        connection.close()
    return [f"run {run_id}: {result}" for run_id, result in rows if run_id not in noted]


def unreported(
    answers: Iterable[Answer], database: Path, records: Records, killed: Sequence[float]
) -> list[str]:
    """Return what the journal does not tell: results, and events.

    No answer waits for the journal. So an event that was answered just before a kill may have no
    record, nor one that was found as a duplicate, having been committed just before a kill.
    """
    connection = sqlite3.connect(database)
    results = set(connection.execute("SELECT run_id, result FROM runs").fetchall())
    connection.close()
    told = set()
    for kind in (RUN_ENDED, RUN_INTERRUPTED, RUN_NOT_STARTED):
        for record in records.find(MESSAGE_ID=kind.message_id):
            told.add((int(record["HOOKD_RUN_ID"]), record["HOOKD_RESULT"]))
    missing = [f"run {run_id}: {result}" for run_id, result in results - told]
    for phase, kind in (("start", JOB_STARTED), ("end", JOB_ENDED)):
        said = {int(r["HOOKD_JOB_ID"]) for r in records.find(MESSAGE_ID=kind.message_id)}
        acknowledged = {
            a.job_id
            for a in answers
            if a.phase == phase
            and not a.duplicate
            and not any(0 <= moment - a.answered < JOURNAL_BEHIND_SEC for moment in killed)
        }
        missing += [f"{phase} of job {job_id}" for job_id in acknowledged - said]
    return missing
