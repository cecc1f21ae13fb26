# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reconciliation: what is done with each run that the server or a runner knows after a connect.

Decides by the table of states and does nothing itself.
"""

from __future__ import annotations

import msgspec

from hookd.link import Welcome
from hookd.server.runs.registry import RunRegistry
from hookd.server.runs.run import Run, RunPhase
from hookd.server.storage.states import Knowledge, Recovery, StoredState, recover

MOST_PARTS = 100  # of a Welcome: some hundred thousand runs
GONE = "the runner ended while it ran"
OTHER_RUN = "the runner has another run of this number: the database is an older copy"
FORGOTTEN = "the runner had started it and no longer knows it"


class WelcomeAssembly:
    """Puts together a Welcome that comes in several frames."""

    def __init__(self) -> None:
        self._parts: list[Welcome] = []

    def add(self, part: Welcome) -> Welcome | None:
        """Return the whole with its last part, None before. Raises ValueError for too many."""
        if self._parts and self._parts[0].instance != part.instance:
            self._parts.clear()
        self._parts.append(part)
        if len(self._parts) > MOST_PARTS:
            self._parts.clear()
            raise ValueError(f"a Welcome of more than {MOST_PARTS} parts")
        if part.more:
            return None
        parts, self._parts = self._parts, []
        return msgspec.structs.replace(
            part,
            running=[run for one in parts for run in one.running],
            ended=[end for one in parts for end in one.ended],
        )

    def clear(self) -> None:
        """Forget the parts of a Welcome that will not be completed."""
        self._parts.clear()


class Reconciliation(msgspec.Struct):
    """What is to be done.

    `interrupted` holds runs with the reason. `unknown` are runs that the database does not have.
    """

    attached: list[Run] = []
    never_arrived: list[Run] = []
    interrupted: list[tuple[Run, str]] = []
    unknown: list[int] = []


def reconcile(registry: RunRegistry, welcome: Welcome) -> Reconciliation:
    """Return what is to be done, after the results in the Welcome have been taken."""
    found = Reconciliation()
    running = {run.run_id for run in welcome.running}
    for run in registry.all():
        if run.over:
            continue
        knowledge = Knowledge.RUNNING if run.run_id in running else Knowledge.UNKNOWN
        match recovery(run, welcome.instance, knowledge):
            case Recovery.ATTACH:
                found.attached.append(run)
            case Recovery.HAND_OVER_AGAIN if run.phase is RunPhase.RUNNING:
                found.interrupted.append((run, FORGOTTEN))  # a run never starts twice
            case Recovery.HAND_OVER_AGAIN:
                found.never_arrived.append(run)
            case Recovery.INTERRUPT:
                gone = knowledge is Knowledge.UNKNOWN
                found.interrupted.append((run, GONE if gone else OTHER_RUN))
    for run_id in sorted(running):
        todo = recovery(registry.get(run_id), welcome.instance, Knowledge.RUNNING)
        if todo is Recovery.NOTHING:
            found.unknown.append(run_id)
    return found


def recovery(run: Run | None, instance: str | None, knowledge: Knowledge) -> Recovery:
    """Return what is to be done with a run, by what this instance of the runner knows of it."""
    if run is None:
        return recover(StoredState.ENDED, False, knowledge)
    stored = StoredState.WAITING if run.runner is None else StoredState.HANDED
    return recover(stored, run.runner == instance, knowledge)


def newest(welcome: Welcome) -> int:
    """Return the highest run ID that the runner has, 0 if it has none."""
    running, ended = (run.run_id for run in welcome.running), (end.run_id for end in welcome.ended)
    return max((*running, *ended), default=0)
