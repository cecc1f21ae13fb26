# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results that the runner reports: which of them are new, and what is done with each.

If deciding on a result meets an error of hookd's own, the result is written as it is, so that the
runner does not send it again for ever.
"""

from __future__ import annotations

from functools import partial

import msgspec

from hookd.link import Ended, Settled
from hookd.model import Receipt, Result
from hookd.server.dispatch.handover import Handover
from hookd.server.dispatch.results import Results
from hookd.server.runs.reconcile import OTHER_RUN, recovery
from hookd.server.runs.registry import RunRegistry
from hookd.server.runs.run import Run
from hookd.server.storage.states import Knowledge, Recovery
from hookd.server.storage.values import Finish
from hookd.server.transport.runner_link import RunnerLink
from hookd.system import faults


class _Judged(msgspec.Struct):
    """What to do: settle results, write ends, and put back runs that were not taken."""

    settled: list[int] = []
    finishes: list[Finish] = []
    refused: list[Run] = []


class RunReports:
    """Decides what is done with each result that the runner reports."""

    def __init__(
        self,
        registry: RunRegistry,
        handover: Handover,
        results: Results,
        link: RunnerLink,
    ) -> None:
        self._registry = registry
        self._handover = handover
        self._results = results
        self._link = link

    def take(self, ended: list[Ended]) -> None:
        """Act on results; an error in one does not affect the others."""
        judged = _Judged()
        for message in ended:
            faults.guarded(
                "the result of a run", partial(self._judge, message, judged),
                partial(self._misjudged, message, judged),
            )  # fmt: skip
        if judged.settled:
            self._link.send(Settled(judged.settled))
        if judged.refused:
            self._handover.ready = False  # it is stopping: what waits is for the next runner
            self._handover.take_back([run for run in judged.refused if run.runner is not None])
        self._results.save(judged.finishes)

    def _judge(self, message: Ended, judged: _Judged) -> None:
        run = self._registry.get(message.run_id)
        todo = recovery(run, self._handover.instance, Knowledge.FINISHED)
        if message.run_id in self._registry.set_aside:
            return
        if run is None or todo is Recovery.NOTHING:
            judged.settled.append(message.run_id)
        elif _not_taken(message.receipt):
            judged.settled.append(message.run_id)
            judged.refused.append(run)
        elif run.over:
            return
        elif todo is Recovery.INTERRUPT:
            judged.finishes.append(self._results.interrupted(run, OTHER_RUN))
            judged.settled.append(message.run_id)
        else:
            judged.finishes.append(self._results.decide(run, message.receipt))

    def _misjudged(self, message: Ended, judged: _Judged, error: Exception) -> None:
        """Write a result as it is, after an error in deciding on it."""
        run = self._registry.get(message.run_id)
        if run is not None:
            judged.finishes.append(self._results.undecided(run, message.receipt, error))


def _not_taken(receipt: Receipt) -> bool:
    """Return whether a runner that is stopping has sent a run back without having started it."""
    return receipt.result is Result.INTERRUPTED and receipt.started_usec is None
