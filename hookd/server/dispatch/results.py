# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results: decides what the end of a run means, and writes it, however many attempts that takes.

An end that the server itself brings about is recorded in the journal before it is written, so
that every result on disk has been reported.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import msgspec

from hookd.config.parse import Config
from hookd.errors import HookdError, InternalError
from hookd.model import Receipt, Result
from hookd.server.runs.policy import backoff, next_attempt, refusal
from hookd.server.runs.quarantine import Quarantine
from hookd.server.runs.run import Run
from hookd.server.storage.database import Database
from hookd.server.storage.store import Store
from hookd.server.storage.values import Finish, Finished, Now
from hookd.system import faults
from hookd.system.journal import Journal
from hookd.system.records import (
    GATE_OVERDUE,
    JOB_REFUSED,
    RUN_INTERRUPTED,
    RUN_NOT_STARTED,
    RecordKind,
)

RETRY_SEC = 1.0  # between two attempts to write while the disk fails


class Results:
    """Decides on results and writes them.

    `saved` is called in the event loop with the results that are on disk.
    `given_up` is called for a result that cannot be written because of an error of hookd's own.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        journal: Journal,
        quarantine: Quarantine,
        now: Callable[[], Now],
        saved: Callable[[list[Finish], list[Finished]], None],
        given_up: Callable[[Finish, InternalError], None],
    ) -> None:
        self._config = config
        self._store = store
        self._journal = journal
        self._quarantine = quarantine
        self.now = now
        self._saved = saved
        self._loop = asyncio.get_running_loop()
        self._unsaved: list[Finish] = []
        self._timer = faults.Timer(self._save_again)
        self._given_up = given_up

    def configure(self, config: Config) -> None:
        """Take a new configuration; results are decided by it from now on."""
        self._config = config

    def decide(self, run: Run, receipt: Receipt) -> Finish:
        """Decide what the end of a run means: for the run's hook, and for its job."""
        run.end()
        hook = self._config.hooks.get(run.hook)
        again = False
        if not run.test:  # a test run decides nothing
            self._quarantine.count(run.hook, receipt.result)
            # Where the job was decided without its gate, another attempt would decide nothing.
            again = not run.overdue and next_attempt(hook, run.info.attempt, receipt.result)
        due = None
        if again and hook is not None:
            wait = 0.0
            if receipt.result is not Result.INTERRUPTED:
                wait = backoff(hook, run.info.attempt, os.urandom(1)[0] / 255)
            due = self.now().usec + int(wait * 1e6)
            run.retry_at = self._loop.time() + wait
        refused = None
        if run.gate and not again and not run.overdue:
            refused = run.refusal = refusal(hook, run.hook, receipt)
        if refused is not None and run.event.refusal is None:
            self._say(JOB_REFUSED, run, receipt.result, refused)
        return Finish(run_id=run.run_id, receipt=receipt, retry_due_usec=due, refusal=refused)

    def undecided(self, run: Run, receipt: Receipt, error: Exception) -> Finish:
        """Return the end of a run as it is, after an error of hookd's own in deciding on it."""
        run.end()
        words = faults.words(error)
        hook = self._config.hooks.get(run.hook)
        passes = receipt.result is Result.SUCCESS or (
            hook is not None and hook.on_error == "allow"
        )
        refused = None
        if run.gate and not passes and not run.overdue:
            refused = f"gate {run.hook} could not decide: {words}"
        reason = f"{receipt.reason}; {words}" if receipt.reason else words
        receipt = msgspec.structs.replace(receipt, reason=reason)
        return Finish(run_id=run.run_id, receipt=receipt, refusal=refused)

    def unstarted(self, run: Run, result: Result, reason: str) -> Finish:
        """Decide what it means that a run ends without having been started."""
        receipt = Receipt(result=result, reason=reason, ended_usec=self.now().usec)
        self._say(RUN_NOT_STARTED, run, result, f"{result}: {reason}")
        return self.decide(run, receipt)

    def overdue(self, run: Run, seconds: float, why: str) -> str | None:
        """Decide for a gate whose deadline has passed; return the refusal, if it is one."""
        run.overdue = True
        hook = self._config.hooks.get(run.hook)
        text = f"gate {run.hook} could not decide within {seconds:g} s: {why}"
        allowed = hook is not None and hook.on_error == "allow"
        does = "goes on" if allowed else "is refused"
        self._say(GATE_OVERDUE, run, None, f"{text}; the job {does}")
        if allowed:
            return None
        if run.event.refusal is None:
            self._say(JOB_REFUSED, run, None, text)
        return text

    def interrupted(self, run: Run, reason: str) -> Finish:
        """Decide what it means that the result of a run is lost."""
        receipt = Receipt(result=Result.INTERRUPTED, reason=reason, ended_usec=self.now().usec)
        self._say(RUN_INTERRUPTED, run, receipt.result, f": {reason}")
        return self.decide(run, receipt)

    def save(self, finishes: list[Finish]) -> None:
        """Write results and changed quarantine states, however many attempts it takes."""
        states = self._quarantine.unsaved
        if not finishes and not states:
            return
        now = self.now()

        def act(db: Database) -> list[Finished]:
            for state in states:
                db.runs.remember(state)
            return db.runs.finish(finishes, now)

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
            self._timer.within(RETRY_SEC)

        self._store.submit(act, done, later)

    def _set_aside(self, finishes: list[Finish], error: InternalError) -> None:
        """Write each of these alone; give up the one that cannot be written."""
        if len(finishes) > 1:
            for finish in finishes:
                self.save([finish])
        elif finishes:
            self._given_up(finishes[0], error)

    def _save_again(self) -> None:
        unsaved, self._unsaved = self._unsaved, []
        self.save(unsaved)

    def _say(self, kind: RecordKind, run: Run, result: Result | None, detail: str = "") -> None:
        fields = {
            "HOOKD_JOB_ID": run.event.job_id,
            "HOOKD_PHASE": run.info.phase.value,
            "HOOKD_HOOK": run.hook,
            "HOOKD_RUN_ID": run.run_id,
            "HOOKD_ATTEMPT": run.info.attempt,
            "HOOKD_RESULT": result.value if result is not None else None,
        }
        self._journal.send(kind, fields, detail=detail)
