# SPDX-License-Identifier: LGPL-2.1-or-later
"""The states of jobs and runs as literal tables, with the effect of a restart on each. Pure.

A run in the state `handed` is stored as handed over to one runner instance, and is never given to
another one. Clients see it as `waiting` until the runner reports that it has started.
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
    """What a reconciliation does with a run."""

    QUEUE = "queue"
    ATTACH = "attach"
    TAKE_OVER = "take over"
    HAND_OVER_AGAIN = "hand over again"
    INTERRUPT = "interrupt"
    NOTHING = "nothing"


class Row(NamedTuple):
    """One state: the state after each change, and what a reconciliation does.

    The key of `recovery` is whether the run was handed over to this runner instance, and what the
    runner knows of the run.
    """

    changes: dict[Change, StoredState]
    recovery: dict[tuple[bool, Knowledge], Recovery]


RUN_STATES: dict[StoredState, Row] = {
    StoredState.WAITING: Row(
        {
            Change.HAND_OVER: StoredState.HANDED,
            Change.END: StoredState.ENDED,  # skipped, replaced or cancelled; never started
        },
        {
            (False, Knowledge.UNKNOWN): Recovery.QUEUE,
            # The database is an older copy, and the runner has another run with this ID, or
            # this one from a later time. The two cannot be told apart, so nothing is started.
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
            # The runner knows every run that it has received: an unknown run never arrived.
            (True, Knowledge.UNKNOWN): Recovery.HAND_OVER_AGAIN,
            # The instance that had it is gone, with its processes. The next instance may still
            # offer the result of a run that had ended.
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
    """A change that the table does not have: a fault.

    The transaction is rolled back.
    """


def before(change: Change) -> list[StoredState]:
    """Return the states in which a run can have this change."""
    return [stored for stored, row in RUN_STATES.items() if change in row.changes]


def after(change: Change) -> StoredState:
    """Return the state after a change, which is the same for all states before."""
    return RUN_STATES[before(change)[0]].changes[change]


def check_repeat(run_id: int, stored: StoredState | None, change: Change) -> None:
    """Raise IllegalChange unless the run has already had this change.

    A change is repeated after a commit that was reported as failed but is on disk.
    """
    if stored is not after(change):
        raise IllegalChange(f"run {run_id} is {stored or 'not in the database'}: cannot {change}")


def recover(stored: StoredState, same_instance: bool, knowledge: Knowledge) -> Recovery:
    """Return what to do with a run at a reconciliation. Raises KeyError for an impossible case."""
    return RUN_STATES[stored].recovery[same_instance, knowledge]


class JobChange(StrEnum):
    """What can happen to a job on disk."""

    END = "end"
    REFUSE = "refuse"


JOB_STATES: dict[JobState, dict[JobChange, JobState]] = {
    JobState.RUNNING: {JobChange.END: JobState.ENDED, JobChange.REFUSE: JobState.REFUSED},
    # An end that came before the gates had decided is kept.
    JobState.ENDED: {JobChange.REFUSE: JobState.ENDED},
    JobState.REFUSED: {JobChange.REFUSE: JobState.REFUSED},  # by a second gate
}
"""Every state of a job and every change. A reconciliation itself changes no job."""
