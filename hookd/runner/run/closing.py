# SPDX-License-Identifier: LGPL-2.1-or-later
"""The end of a run without processes: flush the output, record the end, deliver the run report.

The run report is delivered only after the journal has taken the record, so that everybody who
learns of the end finds it there. The wait for a journal that takes nothing is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from hookd.config.parse import Limits
from hookd.model import Receipt, Result
from hookd.runner.run.outcome import Observed
from hookd.runner.run.output import Output
from hookd.runner.run.phases import Phase, RunState
from hookd.system import faults, records
from hookd.system.journal import NOTHING, Context, Journal

FLUSH_SEC = 30.0  # that the journal has to take the output
JOURNAL_WAIT_SEC = 2.0  # that the journal has to take the record of the end


class Closing:
    """Takes a run from `FLUSHING` to `ENDED`. `ended` is called once, with the run report."""

    __slots__ = (
        "_context", "_ended", "_journal", "_limits", "_observed", "_output", "_receipt", "_state",
    )  # fmt: skip

    def __init__(
        self,
        state: RunState,
        observed: Observed,
        limits: Limits,
        output: Output,
        journal: Journal,
        ended: Callable[[Receipt], None],
    ) -> None:
        self._state = state
        self._observed = observed
        self._limits = limits
        self._output = output
        self._journal = journal
        self._ended = ended
        self._context = NOTHING
        self._receipt: Receipt | None = None  # once it is made

    def begin(self, context: Context) -> None:
        """Record and report the end of the run once the journal has taken its output.

        `context` holds the fields of its records.
        """
        self._context = context
        if self._output.waiting:
            self._state.enter(Phase.FLUSHING, self._flush)
        else:
            self._state.enter(Phase.FLUSHING)
            self._record()

    async def _flush(self) -> None:
        await self._output.flush(FLUSH_SEC)
        self._record()

    def _record(self) -> None:
        observed = self._observed
        self._receipt = receipt = observed.receipt(self._limits, self._output)
        self._journal.send(
            records.RUN_ENDED,
            {**records.receipt_fields(receipt), "OBJECT_PID": observed.pid},
            context=self._context,
            detail=records.receipt_words(receipt),
            priority=records.PRIORITY[receipt.result],
        )
        if self._journal.flushed:
            self._tell(receipt)
        else:
            self._state.enter(Phase.RECORDING, lambda: self._tell_recorded(receipt))

    async def _tell_recorded(self, receipt: Receipt) -> None:
        await self._journal.flush(JOURNAL_WAIT_SEC)
        self._tell(receipt)

    def _tell(self, receipt: Receipt) -> None:
        """Deliver the run report, and try once more after an error: nothing later would."""
        faults.guarded(
            "the end of a run", lambda: self._ended(receipt), lambda _: self._ended(receipt)
        )
        self._state.enter(Phase.ENDED)

    def give_up(self, error: Exception) -> None:
        """Deliver a run report with what is known, despite a fault."""
        self._observed.own_error = self._observed.own_error or faults.words(error)
        if self._state.phase is Phase.FLUSHING and self._receipt is None:
            faults.guarded("the end of a run", self._record, lambda _: self._tell_known())
        else:
            self._tell_known()

    def _tell_known(self) -> None:
        if self._state.phase is not Phase.ENDED:
            self._tell(self._receipt or self._minimal())

    def _minimal(self) -> Receipt:
        cause = self._observed.cause
        return Receipt(
            result=cause.result if cause is not None else Result.INTERRUPTED,
            reason=self._observed.own_error,
            ended_usec=time.time_ns() // 1000,
        )
