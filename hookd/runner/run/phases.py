# SPDX-License-Identifier: LGPL-2.1-or-later
"""The phases of a run in the runner, and the table of the permitted transitions.

Only `RunState.enter` changes the phase. This module does not know what a phase does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any

from hookd.system import faults


class Phase(StrEnum):
    """Where a run is on its way from its order to its run report."""

    NEW = "new"  # the server has ordered it
    RESOLVING = "resolving"  # its program and its account are being looked up
    FORKING = "forking"  # a launcher is being made for it
    ORDERED = "ordered"  # a launcher has been told to start its program
    OVERDUE = "overdue"  # its launcher was killed because the program did not start in time
    RUNNING = "running"  # its program has started
    TERMINATING = "terminating"  # hookd is ending it
    CLEARING = "clearing"  # its main process has ended; hookd handles its leftovers
    FAULTED = "faulted"  # its launcher was killed because of a fault
    ORPHANED = "orphaned"  # its launcher is dead; its processes are now the runner's children
    FLUSHING = "flushing"  # none of its processes is left; the journal is taking its output
    RECORDING = "recording"  # the journal has not taken the record of its end
    ENDED = "ended"  # the runner has its run report


P = Phase
TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    P.NEW: frozenset({P.RESOLVING, P.FLUSHING}),
    P.RESOLVING: frozenset({P.FORKING, P.ORDERED, P.FLUSHING}),
    P.FORKING: frozenset({P.ORDERED, P.FLUSHING}),
    P.ORDERED: frozenset({P.RESOLVING, P.RUNNING, P.OVERDUE, P.FAULTED, P.ORPHANED, P.FLUSHING}),
    P.OVERDUE: frozenset({P.RESOLVING, P.FAULTED, P.ORPHANED, P.FLUSHING}),
    P.RUNNING: frozenset({P.TERMINATING, P.CLEARING, P.FAULTED, P.ORPHANED, P.FLUSHING}),
    P.TERMINATING: frozenset({P.FAULTED, P.ORPHANED, P.FLUSHING}),
    P.CLEARING: frozenset({P.FAULTED, P.ORPHANED, P.FLUSHING}),
    P.FAULTED: frozenset({P.ORPHANED, P.FLUSHING}),
    P.ORPHANED: frozenset({P.FLUSHING}),
    P.FLUSHING: frozenset({P.RECORDING, P.ENDED}),
    P.RECORDING: frozenset({P.ENDED}),
    P.ENDED: frozenset(),
}
"""Every phase and the phases that may follow it. `RESOLVING` follows again if a launcher died with
its order unread; `ENDED` follows `FLUSHING` if the journal takes the record at once."""

UNLAUNCHED = frozenset({P.NEW, P.RESOLVING, P.FORKING})
"""Phases in which no launcher has the order: no program of the run can have started."""

LAUNCHED = frozenset({P.ORDERED, P.OVERDUE, P.RUNNING, P.TERMINATING, P.CLEARING})
"""Phases in which a launcher has the run, and its next report or its death is still to come."""

ORPHANS_LEFT = frozenset({P.FAULTED, P.ORPHANED})
"""Phases in which the launcher is dead or dying, and its processes become the runner's."""

CLOSING = frozenset({P.FLUSHING, P.RECORDING, P.ENDED})
"""Phases in which no process of the run is left, and its end is being recorded and reported."""


class IllegalTransition(Exception):
    """A transition that the table does not permit. It is a fault."""


class RunState:
    """The phase of one run, and the coroutine of that phase, if it has one.

    `failed` is called with any error that ends the coroutine.
    """

    __slots__ = ("_failed", "_phase", "_run_id", "_task")

    def __init__(self, run_id: int, failed: Callable[[Exception], None]) -> None:
        self._run_id = run_id
        self._failed = failed
        self._phase = Phase.NEW
        self._task: asyncio.Task[None] | None = None

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self._phase

    def enter(
        self, phase: Phase, work: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> None:
        """Change the phase, cancel the coroutine of the last phase and start that of the next.

        Raises IllegalTransition; the phase and its coroutine are then unchanged.
        """
        if phase not in TRANSITIONS[self._phase]:
            raise IllegalTransition(f"run {self._run_id} is {self._phase}: it cannot be {phase}")
        self._phase = phase
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        if work is not None:
            self._task = asyncio.get_running_loop().create_task(self._guarded(work))

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception as e:  # whatever the error, the run must end and be reported
            faults.report(e, "a run")
            self._failed(e)
