# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results as the runner tells them: which are news, and what is done with each.

One that hookd cannot judge, for an error of its own, is written as it is and not offered for ever.
"""

from __future__ import annotations

from functools import partial

import msgspec

from hookd import faults
from hookd.link import Ended, Settled
from hookd.model import Receipt, Result
from hookd.server.ends import Ends
from hookd.server.entries import Finish
from hookd.server.lifecycle import Knowledge, Recovery
from hookd.server.live import LiveRun, Roster
from hookd.server.meeting import ANOTHER, recovery
from hookd.server.runnerlink import RunnerLink
from hookd.server.starts import Starts


class _Judged(msgspec.Struct):
    """What is to be done with results: forgotten by the runner, written, or waited for anew."""

    settled: list[int] = []
    finishes: list[Finish] = []
    refused: list[LiveRun] = []


class Results:
    """Judges results. `aside` are runs of which nothing is done until the next start."""

    def __init__(
        self, roster: Roster, starts: Starts, ends: Ends, link: RunnerLink, aside: set[int]
    ) -> None:
        self._roster = roster
        self._starts = starts
        self._ends = ends
        self._link = link
        self._aside = aside

    def take(self, ended: list[Ended]) -> None:
        """Act on results, each for itself."""
        judged = _Judged()
        for message in ended:
            faults.guarded(
                "the result of a run", partial(self._judge, message, judged),
                partial(self._misjudged, message, judged),
            )  # fmt: skip
        if judged.settled:
            self._link.send(Settled(judged.settled))
        if judged.refused:
            self._starts.ready = False  # it is stopping: what waits is for the next one
            self._starts.take_back([live for live in judged.refused if live.runner is not None])
        self._ends.save(judged.finishes)

    def _judge(self, message: Ended, judged: _Judged) -> None:
        live = self._roster.get(message.run_id)
        todo = recovery(live, self._starts.instance, Knowledge.FINISHED)
        if message.run_id in self._aside:
            return
        if live is None or todo is Recovery.NOTHING:
            judged.settled.append(message.run_id)
        elif _not_taken(message.receipt):
            judged.settled.append(message.run_id)
            judged.refused.append(live)
        elif live.ending:
            return
        elif todo is Recovery.INTERRUPT:
            judged.finishes.append(self._ends.interrupted(live, ANOTHER))
            judged.settled.append(message.run_id)
        else:
            judged.finishes.append(self._ends.decide(live, message.receipt))

    def _misjudged(self, message: Ended, judged: _Judged, error: Exception) -> None:
        """Write a result as it is, which nobody could decide on."""
        live = self._roster.get(message.run_id)
        if live is not None:
            judged.finishes.append(self._ends.undecided(live, message.receipt, error))


def _not_taken(receipt: Receipt) -> bool:
    """Return whether a runner that is stopping has sent a run back, having started nothing."""
    return receipt.result is Result.INTERRUPTED and receipt.started_usec is None
