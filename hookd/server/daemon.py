# SPDX-License-Identifier: LGPL-2.1-or-later
"""The owner: puts the facilities together, knows which method is whose, reloads and stops.

Handles no descriptor, PID or JSON; what a method does stands in `jobs` and `manager`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from hookd import __version__, faults
from hookd.confdir import Loaded
from hookd.errors import ConfigError, HookdError, PermissionDenied, StorageFailure
from hookd.journal import Journal
from hookd.link import Message, Reload, Reloaded, RunnerFaults, Usability, Welcome
from hookd.model import Event, HookRun
from hookd.notify import Notifier
from hookd.records import (
    CONFIG_LOADED,
    CONFIG_NOTE,
    CONFIG_REFUSED,
    FAULT,
    RUNNER_CONNECTED,
    RUNNER_LOST,
    SERVER_STARTED,
    SERVER_STOPPED,
    STORAGE_CREATED,
    STORAGE_FAILED,
    STORAGE_RECOVERED,
)
from hookd.server import introspection, protocol
from hookd.server.access import admitted
from hookd.server.agreement import Agreed, Agreement
from hookd.server.books import Books
from hookd.server.dispatcher import Dispatcher
from hookd.server.entries import HookState, OpenRun
from hookd.server.facilities import Facilities, clocks
from hookd.server.feed import Feed
from hookd.server.intake import Intake
from hookd.server.jobs import Jobs
from hookd.server.listener import Listener
from hookd.server.manager import Health, Manager
from hookd.server.matching import overlap_key_by_name
from hookd.server.meeting import Gathering
from hookd.server.metrics import Metrics
from hookd.server.protocol import Call, decode_parameters
from hookd.server.reports import Reports
from hookd.server.runnerlink import RunnerLink
from hookd.server.session import Session
from hookd.server.store import Store
from hookd.server.upkeep import Upkeep

RUNNER_SEC = 10.0  # for the runner to say who it is, before that is a problem
ANSWERS_SEC = 5.0  # for answers under way when hookd stops
AGAIN_SEC = 1.0  # after an error of hookd's own in what all hooks need
READ_AGAIN_SEC = 0.05  # after one on the way from the books to memory


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says. `runner` is a socket's path, or the command of our own child."""

    config: Path | None
    state_directory: Path
    runner: Path | list[str]
    boot_id: str


class Daemon:
    """The server, from its first breath to its last."""

    def __init__(self, setup: Setup, loaded: Loaded) -> None:
        self._setup = setup
        access = admitted(loaded.config.access)
        self._notes = [*loaded.notes, *access.errors]
        self._problems: dict[str, str] = {}
        self._started_usec = time.time_ns() // 1000
        self._notifier = Notifier(self._status)
        self._journal = Journal()
        self._faults = faults.Faults(partial(self._journal.send, FAULT), self._notifier.changed)
        now = partial(clocks, setup.boot_id)
        self._store = Store(
            setup.state_directory,
            setup.boot_id,
            loaded.config.daemon.job_ids == "per-boot",
            self._on_storage,
        )
        self._link = RunnerLink(self._on_messages, self._on_runner_lost)
        config, store, journal = loaded.config, self._store, self._journal
        self._dispatcher = Dispatcher(config, store, self._link, journal, now)
        self._facilities = Facilities(config, store, self._dispatcher, journal, now)
        self._intake = Intake(self._facilities)
        self._upkeep = Upkeep(self._facilities, self._intake, self._problems)
        self._intake.job_started = self._upkeep.job_started
        self._store.opened = self._read_books
        self._read_again = faults.Timer(self._reread)
        self._store.missed = partial(self._read_again.within, READ_AGAIN_SEC)
        self._ask_again = faults.Timer(self._dispatcher.ask_again)
        self._feed = Feed(self._started_usec)
        self._metrics = Metrics()
        self._intake.observe = self._observe_job
        self._dispatcher.roster.observe = self._observe_run
        self._reports = Reports(journal)
        self._listener = Listener(
            self._handle,
            lambda peer: self._reports.known(peer, self._gatekeeper),
            self._reports.closed,
            self._on_session_lost,
        )
        self._gatekeeper = access.gatekeeper
        self._handlers = self._methods()
        self._agreement = Agreement(setup.config, self._link, self._dispatcher.starts)
        self._reloading = asyncio.Lock()
        self._runner_seen: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._restored = False
        self._gathering = Gathering()
        self._runner_faults = 0
        self._runner_version: str | None = None
        self._late = faults.Timer(partial(self._on_runner_lost, "it has not said who it is"))
        self._probe: asyncio.Task[None] | None = None

    def _methods(self) -> dict[type[protocol.Parameters], Callable[..., Awaitable[Any]]]:
        jobs = Jobs(self._facilities, self._intake, self._upkeep.tie_broken)
        manager = Manager(
            self._facilities, self._intake, self._health, self.reload, self._feed, self._metrics
        )
        return {
            protocol.StartJob: jobs.start_job,
            protocol.EndJob: jobs.end_job,
            protocol.GetJob: jobs.get_job,
            protocol.ServerStarted: jobs.server_started,
            protocol.GetStatus: manager.get_status,
            protocol.ListJobs: manager.list_jobs,
            protocol.ListHooks: manager.list_hooks,
            protocol.Explain: manager.explain,
            protocol.Reload: manager.reload,
            protocol.Cancel: manager.cancel,
            protocol.Resume: manager.resume,
            protocol.Subscribe: manager.subscribe,
            protocol.TestHook: manager.test_hook,
            protocol.Replay: manager.replay,
            protocol.GetMetrics: manager.get_metrics,
            protocol.GetInfo: introspection.get_info,
            protocol.GetInterfaceDescription: introspection.get_description,
        }

    # From start to stop.

    async def start(self, sock: socket.socket) -> None:
        """Take up the work of before and begin to answer.

        Raises ConfigError where a runner of our own refuses the configuration.
        """
        await self._store.try_out()
        if self._restored and not isinstance(self._setup.runner, Path):
            welcome = await self._runner_seen
            if welcome.errors:
                raise ConfigError(welcome.errors)
        self._upkeep.start()
        self._listener.start(sock)
        for note in self._notes:
            self._journal.send(CONFIG_NOTE, detail=note)
        detail = f"hookd {__version__} is ready: {len(self._facilities.config.hooks)} hooks"
        self._journal.send(SERVER_STARTED, detail=detail)
        self._notifier.ready()

    async def stop(self) -> None:
        """Take no more, answer what was asked, let running hooks end where they are ours."""
        self._listener.stop_accepting()
        self._dispatcher.abandon()
        self._notifier.stopping()
        self._feed.close()
        await self._upkeep.close()
        await self._listener.close(ANSWERS_SEC)
        with contextlib.suppress(StorageFailure):  # what was on its way has been handed over then
            await self._store.write(lambda books: books.runs.queued)
        await self._link.close(self._facilities.config.daemon.drain)
        await self._store.close()
        self._notifier.close()
        self._agreement.close()
        self._journal.send(SERVER_STOPPED, detail="hookd has stopped")
        self._journal.close()

    def _read_books(self, books: Books) -> Callable[[], None]:
        """Read, in the writer's thread, what there is to take over; return how."""
        runs = books.runs.open_runs(partial(overlap_key_by_name, self._facilities.config))
        return partial(self._restore, runs, books.runs.hook_states(), books.open_jobs())

    def _restore(self, runs: list[OpenRun], hooks: list[HookState], jobs: dict[int, bool]) -> None:
        """Take over what the books have; meet the runner only then, to settle them with it."""
        self._dispatcher.restore(runs, hooks, set(jobs))
        if self._restored:
            return
        self._restored = True
        if self._store.created:
            self._journal.send(STORAGE_CREATED, detail=str(self._store.path))
        self._upkeep.tie_broken({job for job, tie in jobs.items() if tie})  # of before
        self._late.within(RUNNER_SEC)
        if isinstance(self._setup.runner, Path):
            self._link.connect(self._setup.runner)
        else:
            self._link.start(self._setup.runner)

    def _reread(self) -> None:
        """Take over from the books what an error has kept from memory: it goes on from there."""

        def done(outcome: Callable[[], None] | HookdError) -> None:
            if isinstance(outcome, HookdError):
                self._read_again.within(AGAIN_SEC)
            else:
                outcome()

        self._store.submit(self._read_books, done, lambda _: self._read_again.within(AGAIN_SEC))

    def _on_storage(self, fault: str | None) -> None:
        if fault is None:
            if self._problems.pop("storage", None) is not None:
                self._journal.send(STORAGE_RECOVERED)
                self._dispatcher.starts.kick()
        else:
            if "storage" not in self._problems:
                self._journal.send(STORAGE_FAILED, detail=fault)
            self._problems["storage"] = f"storage failed: {fault}"
            if self._probe is None or self._probe.done():
                self._probe = faults.keep("the look at a storage that failed", self._probe_storage)
        self._notifier.changed()

    async def _probe_storage(self) -> None:
        """Try the disk again until it works, also when nobody asks for anything."""
        while "storage" in self._problems:
            await asyncio.sleep(1.0)
            await self._store.try_out()

    # Calls.

    async def _handle(self, session: Session, call: Call) -> Any:
        try:
            self._gatekeeper.admit(session.peer, call.method)
        except PermissionDenied:
            self._reports.denied(session.peer, call.method)
            raise
        asked = decode_parameters(call)
        return await self._handlers[type(asked)](session, call, asked)

    def _on_session_lost(self, session: Session) -> None:
        if session.ties and not self._dispatcher.starts.stopping:
            self._upkeep.tie_broken(session.ties)

    # The runner.

    def _on_messages(self, messages: list[Message]) -> None:
        """Act on what the runner says, each message for itself."""
        for message in messages:
            if isinstance(message, Welcome):
                faults.guarded("a Welcome", partial(self._on_welcome, message), self._unwelcome)
            elif isinstance(message, Reloaded):
                faults.guarded("a Reloaded", partial(self._on_reloaded, message))
            elif isinstance(message, RunnerFaults):
                self._runner_faults = message.count
            elif isinstance(message, Usability):
                self._agreement.usability(message)
        self._dispatcher.messages(messages)
        self._notifier.changed()

    def _on_reloaded(self, message: Reloaded) -> None:
        self._agreement.told(message)
        if not self._reloading.locked():  # that one looks for itself, at its end
            self._check_runner()

    def _unwelcome(self, error: Exception) -> None:
        """Ask the runner once more what it has, having met an error in what it said of that."""
        self._dispatcher.disconnected()
        self._problems["runner"] = f"no hook starts, the runner's list met {faults.words(error)}"
        self._ask_again.within(AGAIN_SEC)

    def _on_welcome(self, part: Welcome) -> None:
        welcome = self._gathering.add(part)
        if welcome is None:
            return
        self._late.cancel()
        if not self._runner_seen.done():
            self._runner_seen.set_result(welcome)
        self._agreement.told(welcome)
        self._runner_version, self._runner_faults = welcome.version, welcome.faults
        self._journal.send(RUNNER_CONNECTED, detail=f"runner {welcome.instance} is connected")
        self._problems.pop("runner", None)
        self._dispatcher.welcome(welcome)
        self._check_runner()
        if welcome.digest != self._facilities.config.digest:
            self._link.send(Reload(strict=False))  # as at a start, which this is of one of us

    def _check_runner(self) -> None:
        """Start hooks only while both processes have read the same configuration."""
        starts = self._dispatcher.starts
        if starts.instance is None:
            return
        objection = self._agreement.objection(self._facilities.config.digest)
        starts.ready = objection is None
        if objection is None:
            self._problems.pop("config", None)
            starts.kick()
        else:
            self._problems["config"] = objection
        self._notifier.changed()

    def _on_runner_lost(self, reason: str) -> None:
        if self._dispatcher.starts.instance is not None and not self._dispatcher.starts.stopping:
            self._journal.send(RUNNER_LOST, detail=f"the link to the runner broke: {reason}")
        self._dispatcher.disconnected()
        self._gathering.clear()
        self._problems["runner"] = f"no hook starts, the runner is not connected: {reason}"
        self._agreement.lost()
        self._notifier.changed()

    # The configuration.

    async def reload(self) -> list[str]:
        """Read the configuration anew and return notes; raises ConfigError, changing nothing."""
        async with self._reloading:
            self._notifier.reloading()
            try:
                agreed = await self._agreement.read()
            except ConfigError as e:
                self._journal.send(CONFIG_REFUSED, detail="; ".join(e.errors))
                raise
            else:
                self._agreement.adopt()
                self._adopt(agreed)
            finally:
                self._check_runner()
                self._notifier.ready()
            return [*self._notes, *self._agreement.notes]

    def _adopt(self, agreed: Agreed) -> None:
        config = agreed.loaded.config
        self._notes = list(agreed.loaded.notes)
        self._gatekeeper = agreed.admitted.gatekeeper
        self._store.per_boot_ids = config.daemon.job_ids == "per-boot"
        self._facilities.config = config
        self._dispatcher.configure(config)
        self._upkeep.configure()
        self._journal.send(
            CONFIG_LOADED, detail=f"configuration loaded: {len(config.hooks)} hooks"
        )

    async def reload_on_signal(self) -> None:
        """Reload as `systemctl reload` asks; an error is in the journal."""
        try:
            await self.reload()
        except HookdError:
            return

    # What is seen from outside.

    def _health(self) -> Health:
        return Health(
            started_usec=self._started_usec,
            problems=self._problems,
            notes=[*self._own_notes(), *self._notes, *self._agreement.notes],
            connections=len(self._listener),
            faults=self._faults.count,
            runner_faults=self._runner_faults,
            runner_version=self._runner_version,
            unusable=self._agreement.unusable,
        )

    def _own_notes(self) -> list[str]:
        """Say what the database has lost, and that the runner has another version's code."""
        lost, runner = self._store.marks.losses, self._runner_version
        if self._dispatcher.starts.instance is None or runner == __version__:
            return lost
        return [
            *lost,
            f"the runner is version {runner or 'unknown'}, the server {__version__}: systemctl "
            "restart hookd-runner changes that, when the hooks that run have had drain to end",
        ]

    def _status(self) -> str:
        if self._dispatcher.starts.stopping:
            return "finishing: what was accepted is safe"
        if self._problems:
            return "; ".join(self._problems.values())
        if self._dispatcher.starts.instance is None:
            return "waiting for the runner"
        schedule = self._dispatcher.schedule
        return (
            f"{len(self._facilities.config.hooks)} hooks; {schedule.running} running, "
            f"{schedule.waiting} waiting"
        )

    def _observe_job(self, event: Event) -> None:
        self._notifier.changed()
        self._metrics.job(event)
        self._feed.job(event, time.time_ns() // 1000)

    def _observe_run(self, job_id: int, run: HookRun) -> None:
        self._notifier.changed()
        self._metrics.run(run)
        self._feed.run(job_id, run, time.time_ns() // 1000)
