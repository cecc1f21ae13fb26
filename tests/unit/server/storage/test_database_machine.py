# SPDX-License-Identifier: LGPL-2.1-or-later
"""The books against a model in memory: any order of writes, restarts and repeated requests."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hookd.errors import HookdError, JobAlreadyEnded, NoSuchJob, QueueFull, RequestIdConflict
from hookd.model import Outcome, Phase, Result
from hookd.server.storage import queries
from hookd.server.storage.values import Finish, Slots, StoredEvent
from tests.unit.making import receipt
from tests.unit.server.storage.ledger import Ledger, now, opened

ROOM = 6
SLOTS = Slots("runner", 3)
BESIDE = 2  # runs of a hook that may run side by side
hooks = st.lists(st.sampled_from("abc"), unique=True, max_size=3)
requests = st.none() | st.sampled_from(["r", "s", "t"])
servers = st.none() | st.sampled_from(["x", "y"])
steps = st.integers(0, 2**16)


@dataclass
class Job:
    """What is believed of a job."""

    key: int
    job_id: int
    user: str
    server_id: str | None
    state: str = "running"
    outcome: str | None = None
    runs: list[int] = field(default_factory=list)


class Model(RuleBasedStateMachine):
    """Each rule does the same in the books and in the model, and compares the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = ExitStack()
        self.file = Path(self.directory.enter_context(tempfile.TemporaryDirectory())) / "hookd.db"
        self.open_file = ExitStack()
        self.per_boot, self.boot, self.last_of_boot = False, 0, 0
        self.db: Ledger = self.opened()
        self.jobs: dict[int, Job] = {}
        self.requests: dict[str, tuple[Any, int]] = {}
        self.states: dict[int, str] = {}
        self.attempts: set[tuple[int, Phase, str, int]] = set()
        self.named: dict[int, tuple[int, Phase, str, int]] = {}

    def opened(self) -> Ledger:
        return self.open_file.enter_context(opened(self.file, f"boot {self.boot}", self.per_boot))

    def waiting(self) -> int:
        return sum(state == "waiting" for state in self.states.values())

    def expected(self, request: Any, request_id: str | None, runs: int) -> HookdError | int | None:
        """Return the error or the job of a repeated request, None for a new one that fits."""
        if request_id in self.requests:
            before, key = self.requests[request_id]
            if before == request:
                return key
            return RequestIdConflict(request_id, self.jobs[key].job_id)
        return QueueFull(1000) if runs and self.waiting() + runs > ROOM else None

    def recorded(
        self, stored_event: StoredEvent, phase: Phase, names: list[str], free: bool
    ) -> None:
        assert not stored_event.duplicate
        assert [run.hook for run, _ in stored_event.runs] == names
        handed = []
        free = free and not (phase is Phase.END and self.starts_are_open(stored_event.job))
        for run, _ in stored_event.runs:
            assert run.run_id > max(self.states, default=0)
            if free and self.may_start(run.hook):
                handed.append(run.run_id)
            self.note(run.run_id, (stored_event.job, phase, run.hook, 1))
            if run.run_id in handed:
                self.states[run.run_id] = "handed"
        assert [start.run_id for start in stored_event.handed] == handed
        assert all(start.event == stored_event.event for start in stored_event.handed)

    def starts_are_open(self, job: int) -> bool:
        """Return whether a start run of a job has not ended."""
        return any(
            name[0] == job and name[1] is Phase.START and self.states[run_id] != "ended"
            for run_id, name in self.named.items()
        )

    def may_start(self, hook: str) -> bool:
        """Return whether nothing that is on disk keeps a new run of a hook waiting."""
        of_hook = [self.states[run_id] for run_id, name in self.named.items() if name[2] == hook]
        running = sum(state == "handed" for state in self.states.values())
        return (
            "waiting" not in of_hook and of_hook.count("handed") < BESIDE and running < SLOTS.most
        )

    def note(self, run_id: int, name: tuple[int, Phase, str, int]) -> None:
        assert name not in self.attempts, "an attempt twice"
        self.attempts.add(name)
        self.named[run_id] = name
        self.states[run_id] = "waiting"
        self.jobs[name[0]].runs.append(run_id)

    def same_error(self, error: HookdError, act: Any) -> None:
        before = self.db.contents()
        try:
            act()
        except HookdError as e:
            assert (type(e), e.parameters()) == (type(error), error.parameters())
        else:
            raise AssertionError(f"expected {error!r}")
        assert self.db.contents() == before

    @rule(
        names=hooks, request_id=requests, server_id=servers, user=st.sampled_from("uv"),
        free=st.booleans(),
    )  # fmt: skip
    def start(
        self,
        names: list[str],
        request_id: str | None,
        server_id: str | None,
        user: str,
        free: bool,
    ) -> None:
        def act() -> StoredEvent:
            return self.db.start(
                *names, request_id=request_id, user=user, server_job_id=server_id, room=ROOM,
                at_once=BESIDE, slots=SLOTS if free else None,
            )  # fmt: skip

        request = ("start", user, server_id)
        expected = self.expected(request, request_id, len(names))
        if isinstance(expected, HookdError):
            self.same_error(expected, act)
        elif expected is not None:
            again = act()
            assert (again.duplicate, again.job) == (True, expected)
        else:
            new = act()
            assert new.job > max(self.jobs, default=0)
            self.last_of_boot += self.per_boot
            job_id = self.last_of_boot if self.per_boot else new.job
            assert new.event.job_id == job_id
            self.jobs[new.job] = Job(new.job, job_id, user, server_id)
            if request_id is not None:
                self.requests[request_id] = (request, new.job)
            self.recorded(new, Phase.START, names, free)

    def meant(self, job_id: int | None, server_id: str | None) -> Job | None:
        found = [
            job
            for job in self.jobs.values()
            if (job.job_id == job_id if job_id else job.server_id == server_id)
        ]
        if job_id is None:
            found.sort(key=lambda job: (job.state == "running", job.key))
        return found[-1] if found else None

    @rule(
        names=hooks, request_id=requests, job_id=st.integers(1, 8), server_id=servers,
        outcome=st.sampled_from(Outcome), free=st.booleans(),
    )  # fmt: skip
    def end(
        self,
        names: list[str],
        request_id: str | None,
        job_id: int,
        server_id: str | None,
        outcome: Outcome,
        free: bool,
    ) -> None:
        named: dict[str, Any] = {"server_job_id": server_id} if server_id else {"job_id": job_id}

        def act() -> StoredEvent:
            return self.db.end(
                *names, request_id=request_id, outcome=outcome, room=ROOM, at_once=BESIDE,
                slots=SLOTS if free else None, **named,
            )  # fmt: skip

        request = ("end", tuple(named.items()), outcome)
        expected = self.expected(request, request_id, len(names))
        job = self.meant(named.get("job_id"), server_id)
        if request_id not in self.requests:
            if job is None:
                expected = NoSuchJob(named.get("job_id"), server_id)
            elif job.state != "running":
                expected = JobAlreadyEnded(
                    job.job_id, job.outcome, "no" if job.state == "refused" else None
                )
        if isinstance(expected, HookdError):
            self.same_error(expected, act)
        elif expected is not None:
            again = act()
            assert (again.duplicate, again.job) == (True, expected)
        else:
            assert job is not None
            ended = act()
            assert ended.job == job.key
            job.state, job.outcome = "ended", outcome
            if request_id is not None:
                self.requests[request_id] = (request, job.key)
            self.recorded(ended, Phase.END, names, free)

    @precondition(lambda self: self.states)
    @rule(step=steps)
    def hand_over(self, step: int) -> None:
        run_id = sorted(self.states)[step % len(self.states)]
        if self.states[run_id] != "waiting":
            return
        (start,) = self.db.hand_over([run_id], "runner")
        job, phase, hook, attempt = self.named[run_id]
        assert (start.run_id, start.hook, start.attempt) == (run_id, hook, attempt)
        assert (start.event.phase, start.event.job_id) == (phase, self.jobs[job].job_id)
        self.states[run_id] = "handed"

    @precondition(lambda self: self.states)
    @rule(step=steps)
    def take_back(self, step: int) -> None:
        run_id = sorted(self.states)[step % len(self.states)]
        if self.states[run_id] == "handed":
            self.db.runs.take_back([run_id])
            self.states[run_id] = "waiting"

    @precondition(lambda self: self.states)
    @rule(step=steps, again=st.booleans(), refuse=st.booleans(), result=st.sampled_from(Result))
    def finish(self, step: int, again: bool, refuse: bool, result: Result) -> None:
        run_id = sorted(self.states)[step % len(self.states)]
        refusal = "no" if refuse else None
        due = 5 if again else None
        done = Finish(run_id=run_id, receipt=receipt(result), retry_due_usec=due, refusal=refusal)
        if self.states[run_id] == "ended":
            before = self.db.contents()
            (late,) = self.db.runs.finish([done], now())
            assert not late.news
            assert self.db.contents() == before
            return
        (finished,) = self.db.runs.finish([done], now())
        assert finished.news
        self.states[run_id] = "ended"
        job, phase, hook, attempt = self.named[run_id]
        if refuse and self.jobs[job].state == "running":
            self.jobs[job].state = "refused"
        assert (finished.retry is not None) == again
        if finished.retry is not None:
            self.note(finished.retry.run_id, (job, phase, hook, attempt + 1))

    @rule(reboot=st.booleans(), per_boot=st.booleans())
    def restart(self, reboot: bool, per_boot: bool) -> None:
        self.open_file.close()
        if reboot:
            self.boot += 1
            self.last_of_boot = 0
        self.per_boot = per_boot
        self.db = self.opened()

    @invariant()
    def books_and_model_agree(self) -> None:
        assert self.db.runs.queued == self.waiting()
        found = {f.run.run_id: str(f.stored) for f in self.db.runs.open_runs(lambda _h, _e: "")}
        assert found == {n: state for n, state in self.states.items() if state != "ended"}
        rows = self.db.connection.execute(
            "SELECT key, job_id, state, outcome, user, server_job_id FROM jobs ORDER BY key"
        ).fetchall()
        assert rows == [
            (j.key, j.job_id, j.state, j.outcome, j.user, j.server_id) for j in self.jobs.values()
        ]
        for job in self.jobs.values():
            if self.meant(job.job_id, None) is job:
                runs = queries.job(self.db.connection, job.job_id).hooks
                assert [run.run_id for run in runs] == job.runs

    def teardown(self) -> None:
        self.open_file.close()
        self.directory.close()


def test_the_books_are_as_a_model_in_memory() -> None:
    run_state_machine_as_test(
        Model, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )
