# SPDX-License-Identifier: LGPL-2.1-or-later
"""What follows from the end of a run: another attempt, or the refusal of its job. Pure."""

from __future__ import annotations

from hookd.config.parse import Hook
from hookd.model import FAILURES, Receipt, Result

MAX_RERUNS = 5
"""Reruns in a row after interruptions: a hook that crashes the runner must not run for ever."""


def next_attempt(hook: Hook | None, attempt: int, result: Result) -> bool:
    """Return whether another attempt follows the run."""
    if hook is None:
        return False
    if result is Result.INTERRUPTED:
        return hook.run.on_crash == "rerun" and attempt < hook.retry.attempts + MAX_RERUNS
    return result in FAILURES and attempt < hook.retry.attempts


def backoff(hook: Hook, attempt: int, chance: float) -> float:
    """Return the seconds to wait after this attempt: doubled each time, up to `max_backoff`.

    `chance`, from 0 to 1, spreads the wait over its upper half, so that runs that failed together
    are not tried again together.
    """
    doubled = hook.retry.backoff * 2.0 ** min(attempt - 1, 60)
    whole = min(doubled, hook.retry.max_backoff)
    return whole * (0.5 + chance / 2)


def time_to_decide(hook: Hook) -> float:
    """Return the seconds that a gate has to decide, from the moment its event is on disk.

    They are the sum of all its attempts, each as long as its limits allow, and of the longest
    waits between them. Time that the gate spends waiting counts: the backup server must be
    answered in time, whatever delays the gate.
    """
    attempts = hook.retry.attempts
    waits = sum(backoff(hook, attempt, 1.0) for attempt in range(1, attempts))
    return attempts * (hook.limits.timeout + hook.limits.kill_grace) + waits


def refusal(hook: Hook | None, name: str, receipt: Receipt) -> str | None:
    """Return why a gate refuses the start of its job, None if it lets the job pass.

    On success the job passes. A program that ran and ended with another status refuses it. One
    that could not decide (not started, timed out, killed) refuses it unless `on_error = "allow"`.
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
