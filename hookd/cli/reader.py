# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads hookd's records from the journal with systemd-python's Reader.

See sd-journal(3): a match uses an index, so a job's records are found in a large journal.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from systemd.journal import Reader

from hookd.model import HookRun
from hookd.system.terminal import lost

JOURNALS = ("/run/log/journal", "/var/log/journal")
MATCHES = ("SYSLOG_IDENTIFIER=hookd", "HOOKD_STREAM=stdout", "HOOKD_STREAM=stderr")
"""A record is of hookd, or of the output of one of its hooks, if it has any of these fields."""

LATE = 5_000_000  # microseconds by which the journal may lag

Record = dict[str, Any]


def has_journal() -> bool:
    """Return whether this machine has a journal."""
    return any(Path(path).is_dir() for path in JOURNALS)


def open_reader(**fields: int | None) -> Reader:
    """Return a reader of the records with these values, such as HOOKD_JOB_ID=17; None: any."""
    return _reader(MATCHES, fields)


def output(run: HookRun, lines: int) -> list[str]:
    """Return the last lines that a run has printed.

    The times of the run exclude a run with the same ID of another hookd on this machine.
    """
    reader = _reader(MATCHES[1:], {"HOOKD_RUN_ID": run.run_id})
    ended = (run.ended_usec or time.time_ns() // 1000) + LATE
    found = [r for r in last(reader, lines, run.started_usec or 0) if moment_of(r) <= ended]
    return [as_text(record.get("MESSAGE", "")) for record in found]


def moment_of(record: Record) -> int:
    """Return when the journal received a record, in microseconds since 1970."""
    return int(record["__REALTIME_TIMESTAMP"].timestamp() * 1_000_000)


def as_text(value: object) -> str:
    """Return a field as text. Non-UTF-8 values come as bytes, repeated fields as a list."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return " ".join(as_text(part) for part in value)
    return str(value)


def _reader(matches: Sequence[str], fields: Mapping[str, int | None]) -> Reader:
    reader = Reader()
    wanted = [f"{name}={value}" for name, value in fields.items() if value is not None]
    for match in matches:
        reader.add_match(match, *wanted)
        reader.add_disjunction()
    return reader


def last(reader: Reader, lines: int | None, since: int = 0) -> list[Record]:
    """Return the last `lines` records (None: all), the oldest first.

    Records before `since`, in microseconds since 1970, are left out.
    """
    reader.seek_tail()
    found: list[Record] = []
    while (lines is None or len(found) < lines) and (record := reader.get_previous()):
        if moment_of(record) < since:
            break
        found.append(record)
    return found[::-1]


def follow(reader: Reader, after: Record | None) -> Iterator[Record]:
    """Yield the records after this one; None: after the last one.

    The iteration ends when the reader of standard output has closed it. The Reader handles the
    rotation and removal of journal files.
    """
    poll = select.poll()
    poll.register(reader.fileno(), reader.get_events())
    if after is None:
        reader.seek_tail()
        reader.get_previous()
    else:
        reader.seek_cursor(after["__CURSOR"])
        reader.get_next()
    poll.register(1, 0)  # reports only POLLERR and POLLHUP, see poll(2)
    while lost() is None:
        while record := reader.get_next():
            yield record
        if any(fd == 1 for fd, _ in poll.poll(reader.get_timeout_ms())):
            return
        reader.process()
