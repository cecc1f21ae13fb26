# SPDX-License-Identifier: LGPL-2.1-or-later
"""The states of jobs and runs as literal tables, and what a restart makes of each. Pure.

In the state `handed` a run is on disk as given to one instance of the runner, and is never given
to another one. Clients see it as `waiting` until the runner says that it has started.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from hookd.model import JobState


class StoredState(StrEnum):
    """The state of a run on disk."""

    WAITING = "waiting"
    HANDED = "handed"
    ENDED = "ended"


class Change(StrEnum):
    """What can happen to a run on disk."""

    HAND_OVER = "hand over"
    TAKE_BACK = "take back"
    END = "end"


class Knowledge(StrEnum):
    """What the connected runner knows of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    UNKNOWN = "unknown"


class Recovery(StrEnum):
    """What is done with a run at a reconciliation."""

    QUEUE = "queue"
    ATTACH = "attach"
    TAKE_OVER = "take over"
    HAND_OVER_AGAIN = "hand over again"
    INTERRUPT = "interrupt"
    NOTHING = "nothing"


class Row(NamedTuple):
    """One state: what each change makes of it, and what a reconciliation does.

    `recovery` is by whether the run was handed to this instance of the runner, and by what it
    knows of it.
    """

    changes: dict[Change, StoredState]
    recovery: dict[tuple[bool, Knowledge], Recovery]


RUN_STATES: dict[StoredState, Row] = {
    StoredState.WAITING: Row(
        {
            Change.HAND_OVER: StoredState.HANDED,
            Change.END: StoredState.ENDED,  # skipped, replaced, cancelled: never started
        },
        {
            (False, Knowledge.UNKNOWN): Recovery.QUEUE,
            # The database is an older copy, and the runner has another run of this number, or
            # this one from a later time. Nobody can tell which, so nothing is started.
            (False, Knowledge.RUNNING): Recovery.INTERRUPT,
            (False, Knowledge.FINISHED): Recovery.INTERRUPT,
        },
    ),
    StoredState.HANDED: Row(
        {
            Change.TAKE_BACK: StoredState.WAITING,  # it never reached the runner
            Change.END: StoredState.ENDED,
        },
        {
            (True, Knowledge.RUNNING): Recovery.ATTACH,
            (True, Knowledge.FINISHED): Recovery.TAKE_OVER,
            # The runner answers for all it was ever sent: what it does not know never arrived.
            (True, Knowledge.UNKNOWN): Recovery.HAND_OVER_AGAIN,
            # The instance that had it is gone, and its processes with it. But what it had
            # finished the next one may offer.
            (False, Knowledge.UNKNOWN): Recovery.INTERRUPT,
            (False, Knowledge.FINISHED): Recovery.TAKE_OVER,
            (False, Knowledge.RUNNING): Recovery.INTERRUPT,  # an older copy, as above
        },
    ),
    StoredState.ENDED: Row(
        {},
        {
            # The result is on disk, or the database is an older copy.
            (False, Knowledge.FINISHED): Recovery.NOTHING,
            (False, Knowledge.RUNNING): Recovery.NOTHING,
        },
    ),
}
"""Every state of a run, every change, and what a reconciliation does."""


class IllegalChange(Exception):
    """A change that the table does not have: an error of hookd's own.

    The transaction is rolled back.
    """


def before(change: Change) -> list[StoredState]:
    """Return the states in which a run can be changed so."""
    return [stored for stored, row in RUN_STATES.items() if change in row.changes]


def after(change: Change) -> StoredState:
    """Return the state that a change leads to, which is one, wherever it began."""
    return RUN_STATES[before(change)[0]].changes[change]


def check_repeat(run_id: int, stored: StoredState | None, change: Change) -> None:
    """Raise IllegalChange unless a run that this change did not fit has had it before.

    Such a repeat follows a commit that was reported as failed but is on disk.
    """
    if stored is not after(change):
        raise IllegalChange(f"run {run_id} is {stored or 'not in the database'}: cannot {change}")


def recover(stored: StoredState, same_instance: bool, knowledge: Knowledge) -> Recovery:
    """Return what to do with a run at a reconciliation. Raises KeyError for what cannot be."""
    return RUN_STATES[stored].recovery[same_instance, knowledge]


class JobChange(StrEnum):
    """What can happen to a job on disk."""

    END = "end"
    REFUSE = "refuse"


JOB_STATES: dict[JobState, dict[JobChange, JobState]] = {
    JobState.RUNNING: {JobChange.END: JobState.ENDED, JobChange.REFUSE: JobState.REFUSED},
    # An end that came before the gates had decided stands.
    JobState.ENDED: {JobChange.REFUSE: JobState.ENDED},
    JobState.REFUSED: {JobChange.REFUSE: JobState.REFUSED},  # by a second gate
}
"""Every state of a job and every change. No reconciliation changes a job by itself."""
