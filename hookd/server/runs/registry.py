# SPDX-License-Identifier: LGPL-2.1-or-later
"""All runs that have not ended, and all open jobs, by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hookd.config.parse import Config
from hookd.model import HookRun, Job, Phase, Receipt, RunState
from hookd.server.runs.run import Run, RunPhase
from hookd.server.runs.watchers import JobEvent


class RunRegistry:
    """Runs and their events. `observe` is called with the job's ID when a run starts or ends.

    `open_jobs` holds the keys of all open jobs. `set_aside` holds the runs that met an error of
    hookd's own: nothing is done with them until the next start.
    """

    def __init__(self, config: Config, observe: Callable[[int, HookRun], None]) -> None:
        self.open_jobs: set[int] = set()
        self.set_aside: set[int] = set()
        self._observe = observe
        self._config = config
        self._runs: dict[int, Run] = {}
        self._events: dict[tuple[int, Phase], JobEvent] = {}
        self._abandoned = False

    def configure(self, config: Config) -> None:
        """Take a new configuration; it applies to runs that come from now on."""
        self._config = config

    def __getitem__(self, run_id: int) -> Run:
        return self._runs[run_id]

    def get(self, run_id: int) -> Run | None:
        """Return a run, None if it has ended."""
        return self._runs.get(run_id)

    def known(self, run_id: int) -> bool:
        """Return whether the scheduler has a run, or the run is set aside."""
        run = self._runs.get(run_id)
        return run_id in self.set_aside or (run is not None and run.known)

    def all(self) -> list[Run]:
        """Return every run."""
        return list(self._runs.values())

    def event(self, job: int, phase: Phase) -> JobEvent | None:
        """Return an event of a job, None if all its runs have ended."""
        return self._events.get((job, phase))

    def add(
        self, info: HookRun, job: int, job_id: int, overlap_key: str, decided: bool, test: bool
    ) -> Run:
        """Register a run. `decided`: its job is decided, so that the run is no gate."""
        hook = self._config.hooks.get(info.hook)
        event = self._events.get((job, info.phase))
        if event is None:
            event = JobEvent(job, job_id, info.phase, abandoned=self._abandoned)
            self._events[job, info.phase] = event
        run = Run(info=info, event=event, overlap_key=overlap_key, test=test)
        if hook is not None:
            run.order = hook.order
            run.gate = hook.is_gate and run.at_start and not decided
        event.add(info, run.gate)
        self._runs[info.run_id] = run
        return run

    def started(self, run_id: int, usec: int | None) -> None:
        """Note that a run's program has started; `usec` is None where that is not known."""
        run = self._runs.get(run_id)
        if run is not None and usec is not None and run.phase is RunPhase.HANDED:
            run.enter(RunPhase.RUNNING)
            run.info.state = RunState.RUNNING
            run.info.started_usec = usec
            run.event.changed(run.info)
            self._observe(run.event.job_id, run.info)

    def ended(self, run: Run, receipt: Receipt) -> None:
        """Note the end of a run, which is on disk, and forget the run."""
        self._runs.pop(run.run_id, None)
        run.enter(RunPhase.ENDED)
        _fill_in(run.info, receipt)
        run.event.changed(run.info)
        self._observe(run.event.job_id, run.info)
        self._close(run.event)

    def forget(self, run: Run) -> None:
        """Forget a run without an end; the database still has it."""
        self._runs.pop(run.run_id, None)
        run.end()
        run.enter(RunPhase.ENDED)
        run.event.open.discard(run.run_id)
        run.event.gates.discard(run.run_id)
        self._close(run.event)

    def _close(self, event: JobEvent) -> None:
        key = event.job, event.phase
        if not event.open and self._events.get(key) is event:
            del self._events[key]

    def bring_up_to_date(self, jobs: Iterable[Job]) -> None:
        """Replace the runs of these jobs that have not ended by what memory has of them."""
        for job in jobs:
            for at, info in enumerate(job.hooks):
                run = self._runs.get(info.run_id)
                if run is not None:
                    job.hooks[at] = run.info

    def abandon(self) -> None:
        """End all waits, present and future, because hookd stops."""
        self._abandoned = True
        for event in self._events.values():
            event.abandon()


def _fill_in(info: HookRun, receipt: Receipt) -> None:
    info.state = RunState.ENDED
    for name in Receipt.__struct_fields__:
        if name != "last_line":
            setattr(info, name, getattr(receipt, name))
