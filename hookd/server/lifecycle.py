# SPDX-License-Identifier: LGPL-2.1-or-later
"""The states of jobs and runs as literal tables, and what a restart makes of each. Pure.

`handed` is the state between the books and the runner: the run is on disk as given to one
instance of the runner, and from that moment it is never given to another. To the outside it is
`waiting` until the runner says that it has started.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from hookd.config import Hook
from hookd.model import FAILURES, JobState, Receipt, Result


class Stored(StrEnum):
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
    """What the runner that is there knows of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    UNKNOWN = "unknown"


class Recovery(StrEnum):
    """What is done with a run when server and runner meet."""

    QUEUE = "queue"
    ATTACH = "attach"
    TAKE_OVER = "take over"
    HAND_OVER_AGAIN = "hand over again"
    INTERRUPT = "interrupt"
    NOTHING = "nothing"


class Row(NamedTuple):
    """A state's line: what each change makes of it, and what a meeting with the runner does.

    `recovery` is by whether the run was handed to this instance of the runner, and by what it
    knows of it.
    """

    changes: dict[Change, Stored]
    recovery: dict[tuple[bool, Knowledge], Recovery]


RUN_STATES: dict[Stored, Row] = {
    Stored.WAITING: Row(
        {
            Change.HAND_OVER: Stored.HANDED,
            Change.END: Stored.ENDED,  # skipped, replaced, cancelled: never started
        },
        {
            (False, Knowledge.UNKNOWN): Recovery.QUEUE,
            # The books are an older copy, and the runner has another run, or this one from a
            # time that they do not know of: nobody can tell, so nothing is started.
            (False, Knowledge.RUNNING): Recovery.INTERRUPT,
            (False, Knowledge.FINISHED): Recovery.INTERRUPT,
        },
    ),
    Stored.HANDED: Row(
        {
            Change.TAKE_BACK: Stored.WAITING,  # it never came to the runner
            Change.END: Stored.ENDED,
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
    Stored.ENDED: Row(
        {},
        {
            # On disk, and the runner was not told in time; or in no book, as with an older copy.
            (False, Knowledge.FINISHED): Recovery.NOTHING,
            (False, Knowledge.RUNNING): Recovery.NOTHING,
        },
    ),
}
"""Every state of a run, every change, and what is done with it when server and runner meet."""


class IllegalChange(Exception):
    """A change that the table does not have: a fault of hookd's own. The transaction is undone."""


def before(change: Change) -> list[Stored]:
    """Return the states in which a run can be changed so."""
    return [stored for stored, row in RUN_STATES.items() if change in row.changes]


def after(change: Change) -> Stored:
    """Return the state that a change leads to, which is one, wherever it began."""
    return RUN_STATES[before(change)[0]].changes[change]


def check_repeat(run_id: int, stored: Stored | None, change: Change) -> None:
    """Raise IllegalChange unless a run, which this change found as it is, has had it before.

    Such a repeat follows a commit that failed and was on disk all the same.
    """
    if stored is not after(change):
        raise IllegalChange(f"run {run_id} is {stored or 'in no book'}: cannot {change}")


def recover(stored: Stored, same_instance: bool, knowledge: Knowledge) -> Recovery:
    """Return what to do with a run when the runner is met; raises KeyError for what cannot be."""
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
"""Every state of a job and every change. No meeting with the runner changes a job by itself."""


MAX_RERUNS = 5
"""Reruns in a row after interruptions: a hook that takes the runner down with it must end."""


def next_attempt(hook: Hook | None, attempt: int, result: Result) -> bool:
    """Return whether the run is followed by another attempt."""
    if hook is None:
        return False
    if result is Result.INTERRUPTED:
        return hook.run.on_crash == "rerun" and attempt < hook.retry.attempts + MAX_RERUNS
    return result in FAILURES and attempt < hook.retry.attempts


def backoff(hook: Hook, attempt: int, chance: float) -> float:
    """Return the seconds to wait after this attempt: doubled each time, up to `max_backoff`.

    `chance`, from 0 to 1, spreads the wait over its upper half, so that jobs that failed
    together do not return together.
    """
    doubled = hook.retry.backoff * 2.0 ** min(attempt - 1, 60)
    whole = min(doubled, hook.retry.max_backoff)
    return whole * (0.5 + chance / 2)


def time_to_decide(hook: Hook) -> float:
    """Return the seconds that a gate has to decide, from the moment its event is on disk.

    All its attempts, each as long as its limits let it be, and the longest waits between them.
    What it waits for counts: a backup server has to be told in time, whatever keeps the gate.
    """
    attempts = hook.retry.attempts
    waits = sum(backoff(hook, attempt, 1.0) for attempt in range(1, attempts))
    return attempts * (hook.limits.timeout + hook.limits.kill_grace) + waits


def refusal(hook: Hook | None, name: str, receipt: Receipt) -> str | None:
    """Return why a gate refuses the start of its job, None when it lets it pass.

    Success passes. A program that ran and ended with another status refuses; one that could not
    decide (not started, timed out, killed) refuses unless `on_error = "allow"`.
    """
    if receipt.result is Result.SUCCESS:
        return None
    decided = receipt.exit_status is not None and receipt.result in (Result.FAILED, Result.SKIPPED)
    if not decided and hook is not None and hook.on_error == "allow":
        return None
    if decided:
        return receipt.last_line or f"gate {name} ended with exit status {receipt.exit_status}"
    return f"gate {name} could not decide: {receipt.result}" + (
        f" ({receipt.reason})" if receipt.reason else ""
    )
