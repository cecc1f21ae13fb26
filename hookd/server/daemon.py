# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon: constructs and owns all parts, reloads the configuration, and stops.

This file handles no descriptor, PID or JSON. The methods are in `hookd.server.api`.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from hookd import __version__
from hookd.config.files import Loaded
from hookd.errors import ConfigError, HookdError, PermissionDenied, StorageFailure
from hookd.model import Event, HookRun, Phase
from hookd.server.api.change_feed import ChangeFeed
from hookd.server.api.jobs import Jobs
from hookd.server.api.manager import Health, Manager
from hookd.server.api.methods import Api, access
from hookd.server.api.metrics import Metrics
from hookd.server.api.peer_log import PeerLog
from hookd.server.api.principals import admitted
from hookd.server.config_sync import Agreed, ConfigSync
from hookd.server.dispatch.dispatcher import Dispatcher
from hookd.server.dispatch.intake import Intake
from hookd.server.dispatch.matching import overlap_key_by_name
from hookd.server.dispatch.services import Services, clocks
from hookd.server.maintenance import Maintenance
from hookd.server.runner_session import RunnerSession
from hookd.server.storage.database import Database
from hookd.server.storage.store import Store
from hookd.server.storage.values import HookState, OpenRun
from hookd.server.storage_health import StorageHealth
from hookd.server.transport.connection import Connection
from hookd.server.transport.listener import Listener
from hookd.server.transport.runner_link import RunnerLink
from hookd.server.transport.varlink import Call
from hookd.system import faults
from hookd.system.journal import Journal
from hookd.system.records import (
    CONFIG_LOADED,
    CONFIG_NOTE,
    CONFIG_REFUSED,
    FAULT,
    SERVER_STARTED,
    SERVER_STOPPED,
    STORAGE_CREATED,
)
from hookd.system.sd_notify import Notifier

ANSWERS_SEC = 5.0  # for answers under way when hookd stops
AGAIN_SEC = 1.0  # between two attempts to read the database after a fault
READ_AGAIN_SEC = 0.05  # before the database is read after an undelivered outcome


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """The command line. `runner` is the path of a socket, or the command of a child."""

    config: Path | None
    state_directory: Path
    runner: Path | list[str]
    boot_id: str


class Daemon:
    """The server, from its start to its stop."""

    def __init__(self, setup: Setup, loaded: Loaded) -> None:
        self._setup = setup
        principals = admitted(loaded.config.access)
        self._notes = [*loaded.notes, *principals.errors]
        self._problems: dict[str, str] = {}
        self._started_usec = time.time_ns() // 1000
        self._notifier = Notifier(self._status)
        self._journal = Journal()
        self._faults = faults.Faults(partial(self._journal.send, FAULT), self._notifier.changed)
        now = partial(clocks, setup.boot_id)
        self._read_again = faults.Timer(self._reread)
        self._storage_health = StorageHealth(
            self._problems, self._journal, lambda: self._store.try_out(), self._notifier.changed
        )
        self._store = Store(
            setup.state_directory,
            setup.boot_id,
            loaded.config.daemon.job_ids == "per-boot",
            self._storage_health.report,
            self._read_database,
            partial(self._read_again.within, READ_AGAIN_SEC),
        )
        self._link = RunnerLink(
            lambda messages: self._runner.messages(messages),
            lambda reason: self._runner.lost(reason),
        )
        config, store, journal = loaded.config, self._store, self._journal
        self._dispatcher = Dispatcher(config, store, self._link, journal, now, self._observe_run)
        self._services = Services(config, store, self._dispatcher, journal, now)
        self._intake = Intake(self._services, self._observe_job)
        self._maintenance = Maintenance(self._services, self._intake, self._problems)
        self._change_feed = ChangeFeed(self._started_usec)
        self._metrics = Metrics()
        self._peer_log = PeerLog(journal)
        self._listener = Listener(
            self._handle,
            lambda peer: self._peer_log.known(peer, self._access_policy),
            self._peer_log.closed,
            self._on_connection_lost,
        )
        self._access_policy = principals.access_policy
        self._api = self._new_api()
        self._config_sync = ConfigSync(setup.config, self._link, self._dispatcher.handover)
        self._runner = RunnerSession(
            self._services, self._link, self._config_sync, self._problems, self._notifier.changed
        )
        self._restored = False

    def _new_api(self) -> Api:
        jobs = Jobs(self._services, self._intake, self._maintenance.tie_broken)
        manager = Manager(
            self._services,
            self._intake,
            self._health,
            self.reload,
            self._change_feed,
            self._metrics,
        )
        return Api(jobs, manager)

    # Start and stop.

    async def start(self, sock: socket.socket) -> None:
        """Load the open jobs and runs from the database, and begin to answer.

        Raises ConfigError if a runner that is a child of this process refuses the configuration.
        """
        await self._store.try_out()
        if self._restored and not isinstance(self._setup.runner, Path):
            welcome = await self._runner.first_welcome()
            if welcome.errors:
                raise ConfigError(welcome.errors)
        self._maintenance.start()
        self._listener.start(sock)
        for note in self._notes:
            self._journal.send(CONFIG_NOTE, detail=note)
        detail = f"hookd {__version__} is ready: {len(self._services.config.hooks)} hooks"
        self._journal.send(SERVER_STARTED, detail=detail)
        self._notifier.ready()

    async def stop(self) -> None:
        """Accept no more calls, answer those under way, and end a runner that is a child."""
        self._listener.stop_accepting()
        self._dispatcher.abandon()
        self._notifier.stopping()
        self._change_feed.close()
        await self._maintenance.close()
        await self._listener.close(ANSWERS_SEC)
        with contextlib.suppress(StorageFailure):  # earlier writes are then done
            await self._store.write(lambda db: db.runs.queued)
        await self._link.close(self._services.config.daemon.drain)
        await self._store.close()
        self._notifier.close()
        self._config_sync.close()
        self._journal.send(SERVER_STOPPED, detail="hookd has stopped")
        self._journal.close()

    def _read_database(self, db: Database) -> Callable[[], None]:
        """Read open jobs and runs, in the writer's thread; return the call that restores them."""
        runs = db.runs.open_runs(partial(overlap_key_by_name, self._services.config))
        return partial(self._restore, runs, db.runs.hook_states(), db.open_jobs())

    def _restore(self, runs: list[OpenRun], hooks: list[HookState], jobs: dict[int, bool]) -> None:
        """Restore the open jobs and runs; only then connect to the runner, to reconcile."""
        self._dispatcher.restore(runs, hooks, set(jobs))
        if self._restored:
            return
        self._restored = True
        if self._store.created:
            self._journal.send(STORAGE_CREATED, detail=str(self._store.path))
        self._maintenance.tie_broken(
            {job for job, tie in jobs.items() if tie}
        )  # to connections of an earlier instance
        self._runner.open(self._setup.runner)

    def _reread(self) -> None:
        """Read from the database what is missing in memory after a fault."""

        def done(outcome: Callable[[], None] | HookdError) -> None:
            if isinstance(outcome, HookdError):
                self._read_again.within(AGAIN_SEC)
            else:
                outcome()

        self._store.submit(self._read_database, done, lambda _: self._read_again.within(AGAIN_SEC))

    # Calls.

    async def _handle(self, connection: Connection, call: Call) -> Any:
        try:
            self._access_policy.admit(connection.peer, access(call.method))
        except PermissionDenied:
            self._peer_log.denied(connection.peer, call.method)
            raise
        return await self._api.answer(connection, call)

    def _on_connection_lost(self, connection: Connection) -> None:
        if connection.ties and not self._dispatcher.handover.stopping:
            self._maintenance.tie_broken(connection.ties)

    # The configuration.

    async def reload(self) -> list[str]:
        """Reload the configuration; return notes. Raises ConfigError, and then changes nothing."""
        async with self._config_sync.reloading:
            self._notifier.reloading()
            try:
                agreed = await self._config_sync.read()
            except ConfigError as e:
                self._journal.send(CONFIG_REFUSED, detail="; ".join(e.errors))
                raise
            else:
                self._config_sync.adopt()
                self._adopt(agreed)
            finally:
                self._runner.check_config()
                self._notifier.ready()
            return [*self._notes, *self._config_sync.notes]

    def _adopt(self, agreed: Agreed) -> None:
        config = agreed.loaded.config
        self._notes = list(agreed.loaded.notes)
        self._access_policy = agreed.admitted.access_policy
        self._store.per_boot_ids = config.daemon.job_ids == "per-boot"
        self._services.config = config
        self._dispatcher.configure(config)
        self._maintenance.configure()
        self._journal.send(
            CONFIG_LOADED, detail=f"configuration loaded: {len(config.hooks)} hooks"
        )

    async def reload_on_signal(self) -> None:
        """Reload for `systemctl reload`; an error is only recorded in the journal."""
        try:
            await self.reload()
        except HookdError:
            return

    # Status and observers.

    def _health(self) -> Health:
        return Health(
            started_usec=self._started_usec,
            problems=self._problems,
            notes=[
                *self._store.marks.losses,
                *self._runner.notes(),
                *self._notes,
                *self._config_sync.notes,
            ],
            connections=len(self._listener),
            faults=self._faults.count,
            runner_faults=self._runner.faults,
            runner_version=self._runner.version,
            unusable=self._config_sync.unusable,
        )

    def _status(self) -> str:
        if self._dispatcher.handover.stopping:
            return "finishing: what was accepted is safe"
        if self._problems:
            return "; ".join(self._problems.values())
        if self._dispatcher.handover.instance is None:
            return "waiting for the runner"
        schedule = self._dispatcher.scheduler
        return (
            f"{len(self._services.config.hooks)} hooks; {schedule.running} running, "
            f"{schedule.waiting} waiting"
        )

    def _observe_job(self, event: Event) -> None:
        if event.phase is Phase.START:
            self._maintenance.job_started()
        self._notifier.changed()
        self._metrics.job(event)
        self._change_feed.job(event, time.time_ns() // 1000)

    def _observe_run(self, job_id: int, run: HookRun) -> None:
        self._notifier.changed()
        self._metrics.run(run)
        self._change_feed.run(job_id, run, time.time_ns() // 1000)
