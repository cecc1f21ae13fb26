# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ends of runs: what each means, and its way to the disk, which may take several attempts.

Said in the journal before it is written, so that what is on disk was reported.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import msgspec

from hookd import faults
from hookd.config import Config
from hookd.errors import HookdError, InternalError
from hookd.journal import Journal
from hookd.model import Receipt, Result
from hookd.records import GATE_OVERDUE, JOB_REFUSED, RUN_INTERRUPTED, RUN_NOT_STARTED, Kind
from hookd.server.books import Books
from hookd.server.entries import Finish, Finished, Now
from hookd.server.lifecycle import backoff, next_attempt, refusal
from hookd.server.live import LiveRun
from hookd.server.quarantine import Quarantine
from hookd.server.store import Store

AGAIN_SEC = 1.0  # between attempts to write while the disk fails


class Ends:
    """Decides and writes. `saved` is told, in the event loop, of what is on disk.

    `given_up` is told of an end that cannot be written for an error of hookd's own.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        journal: Journal,
        quarantine: Quarantine,
        now: Callable[[], Now],
        saved: Callable[[list[Finish], list[Finished]], None],
    ) -> None:
        self._config = config
        self._store = store
        self._journal = journal
        self._quarantine = quarantine
        self.now = now
        self._saved = saved
        self._loop = asyncio.get_running_loop()
        self._unsaved: list[Finish] = []
        self._timer = faults.Timer(self._again)
        self.given_up: Callable[[Finish, InternalError], None] = lambda _finish, _error: None

    def configure(self, config: Config) -> None:
        """Take a new configuration: ends are judged by it from now on."""
        self._config = config

    def decide(self, live: LiveRun, receipt: Receipt) -> Finish:
        """Decide what the end of a run means: for the run's hook, and for its job."""
        live.ending = True
        hook = self._config.hooks.get(live.run.hook)
        again = False
        if not live.ticket.test:  # that is for somebody to see, and decides nothing
            self._quarantine.count(live.run.hook, receipt.result)
            # Of a gate whose job is decided without it another attempt would decide nothing.
            again = not live.overdue and next_attempt(hook, live.run.attempt, receipt.result)
        due = None
        if again and hook is not None:
            wait = 0.0
            if receipt.result is not Result.INTERRUPTED:
                wait = backoff(hook, live.run.attempt, os.urandom(1)[0] / 255)
            due = self.now().usec + int(wait * 1e6)
            live.retry_due = self._loop.time() + wait
        refused = None
        if live.ticket.gate and not again and not live.overdue:
            refused = live.refusal = refusal(hook, live.run.hook, receipt)
        if refused is not None and live.event.refusal is None:
            self._say(JOB_REFUSED, live, receipt.result, refused)
        return Finish(run_id=live.run.run_id, receipt=receipt, retry_due_usec=due, refusal=refused)

    def undecided(self, live: LiveRun, receipt: Receipt, error: Exception) -> Finish:
        """Take an end as it is, whose meaning could not be decided for an error of hookd's own."""
        live.ending = True
        words = faults.words(error)
        hook = self._config.hooks.get(live.run.hook)
        passes = receipt.result is Result.SUCCESS or (
            hook is not None and hook.on_error == "allow"
        )
        refused = None
        if live.ticket.gate and not passes and not live.overdue:
            refused = f"gate {live.run.hook} could not decide: {words}"
        reason = f"{receipt.reason}; {words}" if receipt.reason else words
        receipt = msgspec.structs.replace(receipt, reason=reason)
        return Finish(run_id=live.run.run_id, receipt=receipt, refusal=refused)

    def unstarted(self, live: LiveRun, result: Result, reason: str) -> Finish:
        """Decide what it means that a run ends which nobody has started."""
        receipt = Receipt(result=result, reason=reason, ended_usec=self.now().usec)
        self._say(RUN_NOT_STARTED, live, result, f"{result}: {reason}")
        return self.decide(live, receipt)

    def overdue(self, live: LiveRun, seconds: float, why: str) -> str | None:
        """Decide for a gate whose time is over; return the refusal, None where its job goes on."""
        live.overdue = True
        hook = self._config.hooks.get(live.run.hook)
        text = f"gate {live.run.hook} could not decide within {seconds:g} s: {why}"
        allowed = hook is not None and hook.on_error == "allow"
        does = "goes on" if allowed else "is refused"
        self._say(GATE_OVERDUE, live, None, f"{text}; the job {does}")
        if allowed:
            return None
        if live.event.refusal is None:
            self._say(JOB_REFUSED, live, None, text)
        return text

    def interrupted(self, live: LiveRun, reason: str) -> Finish:
        """Decide what it means that nobody will know how a run has ended."""
        receipt = Receipt(result=Result.INTERRUPTED, reason=reason, ended_usec=self.now().usec)
        self._say(RUN_INTERRUPTED, live, receipt.result, f": {reason}")
        live.ticket.dropped = True  # where it waits, it must not start any more
        return self.decide(live, receipt)

    def save(self, finishes: list[Finish]) -> None:
        """Write these ends, and what quarantine is to remember, for as long as it takes."""
        states = self._quarantine.unsaved
        if not finishes and not states:
            return
        now = self.now()

        def act(books: Books) -> list[Finished]:
            for state in states:
                books.runs.remember(state)
            return books.runs.finish(finishes, now)

        def done(outcome: list[Finished] | HookdError) -> None:
            if isinstance(outcome, InternalError):
                self._set_aside(finishes, outcome)
            elif isinstance(outcome, HookdError):
                later(outcome)
            else:
                self._quarantine.saved(states)
                self._saved(finishes, outcome)

        def later(_: Exception) -> None:
            self._unsaved += finishes
            self._timer.within(AGAIN_SEC)

        self._store.submit(act, done, later)

    def _set_aside(self, finishes: list[Finish], error: InternalError) -> None:
        """Write each of these alone; give up the one that cannot be."""
        if len(finishes) > 1:
            for finish in finishes:
                self.save([finish])
        elif finishes:
            self.given_up(finishes[0], error)

    def _again(self) -> None:
        unsaved, self._unsaved = self._unsaved, []
        self.save(unsaved)

    def _say(self, kind: Kind, live: LiveRun, result: Result | None, detail: str = "") -> None:
        fields = {
            "HOOKD_JOB_ID": live.event.job_id,
            "HOOKD_PHASE": live.run.phase.value,
            "HOOKD_HOOK": live.run.hook,
            "HOOKD_RUN_ID": live.run.run_id,
            "HOOKD_ATTEMPT": live.run.attempt,
            "HOOKD_RESULT": result.value if result is not None else None,
        }
        self._journal.send(kind, fields, detail=detail)
