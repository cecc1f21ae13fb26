# SPDX-License-Identifier: LGPL-2.1-or-later
"""Server and runner meet: what is to be done with each run that one of them knows.

Decides by the table of states, and does nothing itself.
"""

from __future__ import annotations

import msgspec

from hookd.link import Welcome
from hookd.server.lifecycle import Knowledge, Recovery, Stored, recover
from hookd.server.live import LiveRun, Roster

MOST_PARTS = 100  # of a Welcome: some hundred thousand runs
GONE = "the runner ended while it ran"
ANOTHER = "the runner has another run of this number: the books are older than what it does"


class Gathering:
    """The parts of a Welcome that came in several frames."""

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
        """Forget what has come of one that will not be whole."""
        self._parts.clear()


class Settlement(msgspec.Struct):
    """What a meeting leads to. `interrupted` with the reason; `nobodys` are in no book."""

    attached: list[LiveRun] = []
    never_arrived: list[LiveRun] = []
    interrupted: list[tuple[LiveRun, str]] = []
    nobodys: list[int] = []


def settle(roster: Roster, welcome: Welcome) -> Settlement:
    """Return what is to be done now that the results which the runner had are taken."""
    settlement = Settlement()
    running = {run.run_id for run in welcome.running}
    for live in roster.all():
        if live.ending:
            continue
        knowledge = Knowledge.RUNNING if live.run.run_id in running else Knowledge.UNKNOWN
        match recovery(live, welcome.instance, knowledge):
            case Recovery.ATTACH:
                settlement.attached.append(live)
            case Recovery.HAND_OVER_AGAIN:
                settlement.never_arrived.append(live)
            case Recovery.INTERRUPT:
                gone = knowledge is Knowledge.UNKNOWN
                settlement.interrupted.append((live, GONE if gone else ANOTHER))
    for run_id in sorted(running):
        todo = recovery(roster.get(run_id), welcome.instance, Knowledge.RUNNING)
        if todo is Recovery.NOTHING:
            settlement.nobodys.append(run_id)
    return settlement


def recovery(live: LiveRun | None, instance: str | None, knowledge: Knowledge) -> Recovery:
    """Return what is to be done with a run that this instance of the runner knows so."""
    if live is None:
        return recover(Stored.ENDED, False, knowledge)
    stored = Stored.WAITING if live.runner is None else Stored.HANDED
    return recover(stored, live.runner == instance, knowledge)


def newest(welcome: Welcome) -> int:
    """Return the highest number that the runner knows of a run, 0 where it knows none."""
    running, ended = (run.run_id for run in welcome.running), (end.run_id for end in welcome.ended)
    return max((*running, *ended), default=0)
