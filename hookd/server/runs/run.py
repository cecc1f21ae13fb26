# SPDX-License-Identifier: LGPL-2.1-or-later
"""A run in memory: one value with one phase, and the table of the phases that may follow each.

Only `Run.enter` changes the phase. Everything here can be made anew from the database: there, the
phases up to `CLAIMED` are `waiting`, and `HANDED` and `RUNNING` are `handed`. Pure.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from hookd.model import HookRun, Phase
from hookd.server.runs.watchers import JobEvent


class RunPhase(StrEnum):
    """The phases of a run between its event and its result."""

    NEW = "new"  # just registered: the scheduler does not have it yet
    HELD = "held"  # waits for its job's gates or start hooks
    DELAYED = "delayed"  # a retry that waits for its due time
    BLOCKED = "blocked"  # waits for another run of the same overlap key
    READY = "ready"  # waits for a slot
    CLAIMED = "claimed"  # has a slot; being written as handed over
    HANDED = "handed"  # on disk as handed over, and sent to the runner
    RUNNING = "running"  # the runner has started its program
    DROPPED = "dropped"  # ends without having been started; its result is being written
    ENDING = "ending"  # its result is being written
    ENDED = "ended"  # its result is on disk


P = RunPhase
TRANSITIONS: dict[RunPhase, frozenset[RunPhase]] = {
    P.NEW: frozenset({P.HELD, P.DELAYED, P.BLOCKED, P.READY, P.HANDED, P.DROPPED}),
    P.HELD: frozenset({P.DELAYED, P.BLOCKED, P.READY, P.DROPPED}),
    P.DELAYED: frozenset({P.BLOCKED, P.READY, P.DROPPED}),
    P.BLOCKED: frozenset({P.READY, P.DROPPED}),
    P.READY: frozenset({P.CLAIMED, P.DROPPED}),
    P.CLAIMED: frozenset({P.HANDED, P.HELD, P.READY, P.ENDING}),
    P.HANDED: frozenset({P.RUNNING, P.HELD, P.READY, P.ENDING}),
    P.RUNNING: frozenset({P.ENDING}),
    P.DROPPED: frozenset({P.ENDED}),
    P.ENDING: frozenset({P.ENDED}),
    P.ENDED: frozenset(),
}
"""Every phase and those that may follow it. A run that never reached the runner waits again."""

QUEUED = frozenset({P.HELD, P.DELAYED, P.BLOCKED, P.READY})
"""Phases in which a run has no slot and may still get one."""

WITH_SLOT = frozenset({P.CLAIMED, P.HANDED, P.RUNNING, P.ENDING})
"""Phases in which a run takes a slot."""


class IllegalTransition(Exception):
    """A change of phase that the table does not have: an error of hookd's own."""


class Run(msgspec.Struct, eq=False, kw_only=True):
    """One run that has not ended.

    `info` is what clients see. Runs of one hook with the same `overlap_key` are rivals. The run
    does not start before `due`. `first` is the first attempt of which it is a retry, 0 if it is no
    retry or was read from the database. `runner` is the instance that the run was handed over to.
    `cancel_reason` is set once a run with a slot is to be cancelled. `faults` counts errors of
    hookd's own on its way to the runner.

    While the end of the run is being written, `retry_at` is the moment at which the next attempt
    may start, None if there is none, and `refusal` is the reason if a gate refuses the job.
    `deadline` is the moment by which a gate must have decided, with all its attempts; `overdue`
    means that it had not, and that the job was decided without it. All moments are on the
    monotonic clock.
    """

    info: HookRun
    event: JobEvent
    overlap_key: str = ""
    order: int = 50
    gate: bool = False
    test: bool = False
    due: float | None = None
    first: int = 0
    runner: str | None = None
    cancel_reason: str | None = None
    faults: int = 0
    retry_at: float | None = None
    refusal: str | None = None
    deadline: float | None = None
    overdue: bool = False
    _phase: RunPhase = P.NEW

    @property
    def phase(self) -> RunPhase:
        """The phase; `enter` changes it."""
        return self._phase

    def enter(self, phase: RunPhase) -> None:
        """Change the phase. Raises IllegalTransition, having changed nothing."""
        if phase not in TRANSITIONS[self._phase]:
            raise IllegalTransition(f"run {self.run_id} is {self._phase}: it cannot be {phase}")
        self._phase = phase

    def end(self) -> None:
        """Note that the end of the run is being written, unless that is known already."""
        if self._phase not in (P.DROPPED, P.ENDING):
            self.enter(P.ENDING if self.has_slot else P.DROPPED)

    @property
    def has_slot(self) -> bool:
        """Whether the run takes a slot."""
        return self._phase in WITH_SLOT

    @property
    def queued(self) -> bool:
        """Whether the run waits for a slot and may still start."""
        return self._phase in QUEUED

    @property
    def known(self) -> bool:
        """Whether the scheduler has the run."""
        return self._phase not in (P.NEW, P.ENDED)

    @property
    def over(self) -> bool:
        """Whether the end of the run is being written or is on disk."""
        return self._phase in (P.DROPPED, P.ENDING, P.ENDED)

    @property
    def run_id(self) -> int:
        """The run's number."""
        return self.info.run_id

    @property
    def hook(self) -> str:
        """The hook's name."""
        return self.info.hook

    @property
    def job(self) -> int:
        """The key of its job in the database."""
        return self.event.job

    @property
    def at_start(self) -> bool:
        """Whether the run belongs to the start of its job."""
        return self.info.phase is Phase.START

    @property
    def origin(self) -> int:
        """The number of its first attempt, which is higher for a later event."""
        return self.first or self.run_id
