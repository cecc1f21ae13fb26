# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookd's records, read back from the journal by systemd-python's Reader.

See sd-journal(3): a match is an index lookup, so a job's records are found in a large journal.
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
"""Any of these makes a record hookd's own, or the output of one of its hooks."""

LATE = 5_000_000  # microseconds by which the journal may be behind

Record = dict[str, Any]


def has_journal() -> bool:
    """Return whether journald keeps anything on this machine."""
    return any(Path(path).is_dir() for path in JOURNALS)


def open_reader(**fields: int | None) -> Reader:
    """Return a reader of the records with these values, such as HOOKD_JOB_ID=17; None: any."""
    return _reader(MATCHES, fields)


def output(run: HookRun, lines: int) -> list[str]:
    """Return the last lines that a run has printed.

    Its time tells it from a run of the same number that belongs to another hookd of this machine.
    """
    reader = _reader(MATCHES[1:], {"HOOKD_RUN_ID": run.run_id})
    ended = (run.ended_usec or time.time_ns() // 1000) + LATE
    found = [r for r in last(reader, lines, run.started_usec or 0) if moment_of(r) <= ended]
    return [as_text(record.get("MESSAGE", "")) for record in found]


def moment_of(record: Record) -> int:
    """Return when the journal took a record, in microseconds since 1970."""
    return int(record["__REALTIME_TIMESTAMP"].timestamp() * 1_000_000)


def as_text(value: object) -> str:
    """Return a field as text; what is not UTF-8 comes as bytes, a field given twice as a list."""
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
    """Return the last records, as many as wanted (None: all), the oldest first.

    `since`, in microseconds since 1970, is where older ones begin, which are left out.
    """
    reader.seek_tail()
    found: list[Record] = []
    while (lines is None or len(found) < lines) and (record := reader.get_previous()):
        if moment_of(record) < since:
            break
        found.append(record)
    return found[::-1]


def follow(reader: Reader, after: Record | None) -> Iterator[Record]:
    """Yield the records that come after this one; None: after all that there are.

    Ends when nobody can read standard output any more.

    That the journal's files are rotated and removed meanwhile is the reader's to cope with.
    """
    poll = select.poll()
    poll.register(reader.fileno(), reader.get_events())
    if after is None:
        reader.seek_tail()
        reader.get_previous()
    else:
        reader.seek_cursor(after["__CURSOR"])
        reader.get_next()
    poll.register(1, 0)  # tells of POLLERR and POLLHUP alone, see poll(2)
    while lost() is None:
        while record := reader.get_next():
            yield record
        if any(fd == 1 for fd, _ in poll.poll(reader.get_timeout_ms())):
            return
        reader.process()
