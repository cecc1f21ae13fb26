# SPDX-License-Identifier: LGPL-2.1-or-later
"""The states of jobs and runs as literal tables, and what a restart makes of each. Pure.

`handed` is the state between the books and the runner: the run is on disk as given to one
instance of the runner, and from that moment it is never given to another. To the outside it is
`waiting` until the runner says that it has started.
"""

from __future__ import annotations

from enum import StrEnum

from hookd.config import Hook
from hookd.model import FAILURES, Receipt, Result


class Stored(StrEnum):
    """The state of a run on disk."""

    WAITING = "waiting"
    HANDED = "handed"
    ENDED = "ended"


RUN_TRANSITIONS: dict[tuple[Stored, str], Stored] = {
    # state, what happens           -> state
    (Stored.WAITING, "hand over"): Stored.HANDED,
    (Stored.HANDED, "take back"): Stored.WAITING,  # it never came to the runner
    (Stored.WAITING, "drop"): Stored.ENDED,  # skipped, replaced, cancelled: never started
    (Stored.HANDED, "result"): Stored.ENDED,
    (Stored.HANDED, "interrupt"): Stored.ENDED,
}
"""Every step a run can take. Anything else changes nothing: an ended run stays as it is."""


class Recovery(StrEnum):
    """What is done with a run that is found when server and runner meet."""

    QUEUE = "queue"
    ATTACH = "attach"
    TAKE_OVER = "take over"
    HAND_OVER_AGAIN = "hand over again"
    INTERRUPT = "interrupt"
    NOTHING = "nothing"


class Knowledge(StrEnum):
    """What the runner that is there knows of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    UNKNOWN = "unknown"


RECOVERY: dict[tuple[Stored, bool, Knowledge], Recovery] = {
    # on disk, handed to this instance, known there as
    (Stored.WAITING, False, Knowledge.UNKNOWN): Recovery.QUEUE,
    (Stored.HANDED, True, Knowledge.RUNNING): Recovery.ATTACH,
    (Stored.HANDED, True, Knowledge.FINISHED): Recovery.TAKE_OVER,
    # The runner answers for all it was ever sent, so what it does not know never arrived.
    (Stored.HANDED, True, Knowledge.UNKNOWN): Recovery.HAND_OVER_AGAIN,
    # Another instance: the one that had it is gone, and its processes with it.
    (Stored.HANDED, False, Knowledge.UNKNOWN): Recovery.INTERRUPT,
    # The result is on disk and the runner was not told in time.
    (Stored.ENDED, True, Knowledge.FINISHED): Recovery.NOTHING,
}


def recover(stored: Stored, same_instance: bool, knowledge: Knowledge) -> Recovery:
    """Return what to do with a run found at a start; raises KeyError for what cannot be."""
    return RECOVERY[stored, same_instance, knowledge]


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
