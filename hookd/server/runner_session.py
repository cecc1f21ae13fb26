# SPDX-License-Identifier: LGPL-2.1-or-later
"""The session with the runner: its Welcome, its loss, and whether it may start hooks.

Messages about single runs are passed on to the dispatcher, those about the configuration to
`hookd.server.config_sync`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hookd import __version__
from hookd.link import Message, Reload, Reloaded, RunnerFaults, Usability, Welcome
from hookd.server.config_sync import ConfigSync
from hookd.server.dispatch.services import Services
from hookd.server.runs.reconcile import WelcomeAssembly
from hookd.server.transport.runner_link import RunnerLink
from hookd.system import faults
from hookd.system.records import RUNNER_CONNECTED, RUNNER_LOST

WELCOME_SEC = 10.0  # for the runner's first Welcome, before its absence is a problem
RETRY_SEC = 1.0  # before the runner is asked again, after a fault


class RunnerSession:
    """The connection to the runner, and the problems `runner` and `config`.

    `changed` is called when something that the status shows may have changed. `faults` and
    `version` are what the runner last reported.
    """

    def __init__(
        self,
        services: Services,
        link: RunnerLink,
        config_sync: ConfigSync,
        problems: dict[str, str],
        changed: Callable[[], None],
    ) -> None:
        self.faults = 0
        self.version: str | None = None
        self._services = services
        self._dispatcher = services.dispatcher
        self._link = link
        self._config_sync = config_sync
        self._problems = problems
        self._changed = changed
        self._assembly = WelcomeAssembly()
        self._first: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._overdue = faults.Timer(partial(self.lost, "it has not said who it is"))
        self._ask_again = faults.Timer(self._dispatcher.ask_again)

    def open(self, runner: Path | list[str]) -> None:
        """Connect to the runner at a socket's path, or start one with a command."""
        self._overdue.within(WELCOME_SEC)
        if isinstance(runner, Path):
            self._link.connect(runner)
        else:
            self._link.start(runner)

    async def first_welcome(self) -> Welcome:
        """Wait for the first Welcome, and return it."""
        return await self._first

    def messages(self, messages: list[Message]) -> None:
        """Act on the runner's messages; an error in one does not affect the others."""
        for message in messages:
            if isinstance(message, Welcome):
                faults.guarded("a Welcome", partial(self._welcome, message), self._unwelcome)
            elif isinstance(message, Reloaded):
                faults.guarded("a Reloaded", partial(self._reloaded, message))
            elif isinstance(message, RunnerFaults):
                self.faults = message.count
            elif isinstance(message, Usability):
                self._config_sync.usability(message)
        self._dispatcher.messages(messages)
        self._changed()

    def lost(self, reason: str) -> None:
        """Note that the runner is not connected."""
        handover = self._dispatcher.handover
        if handover.instance is not None and not handover.stopping:
            text = f"the link to the runner broke: {reason}"
            self._services.journal.send(RUNNER_LOST, detail=text)
        self._dispatcher.disconnected()
        self._assembly.clear()
        self._problems["runner"] = f"no hook starts, the runner is not connected: {reason}"
        self._config_sync.lost()
        self._changed()

    def check_config(self) -> None:
        """Let hooks start only while both processes have read the same configuration."""
        handover = self._dispatcher.handover
        if handover.instance is None:
            return
        objection = self._config_sync.objection(self._services.config.digest)
        handover.ready = objection is None
        if objection is None:
            self._problems.pop("config", None)
            handover.kick()
        else:
            self._problems["config"] = objection
        self._changed()

    def notes(self) -> list[str]:
        """Return a note if the version of the connected runner is not that of the server."""
        if self._dispatcher.handover.instance is None or self.version == __version__:
            return []
        return [
            f"the runner is version {self.version or 'unknown'}, the server {__version__}: "
            "systemctl restart hookd-runner changes that, when the hooks that run have had drain "
            "to end"
        ]

    def _welcome(self, part: Welcome) -> None:
        welcome = self._assembly.add(part)
        if welcome is None:
            return
        self._overdue.cancel()
        if not self._first.done():
            self._first.set_result(welcome)
        self._config_sync.learn(welcome)
        self.version, self.faults = welcome.version, welcome.faults
        text = f"runner {welcome.instance} is connected"
        self._services.journal.send(RUNNER_CONNECTED, detail=text)
        self._problems.pop("runner", None)
        self._dispatcher.welcome(welcome)
        self.check_config()
        if welcome.digest != self._services.config.digest:
            self._link.send(Reload(strict=False))  # not strict, as at a start

    def _unwelcome(self, error: Exception) -> None:
        """Ask the runner for another Welcome, after a fault in the handling of one."""
        self._dispatcher.disconnected()
        self._problems["runner"] = f"no hook starts, the runner's list met {faults.words(error)}"
        self._ask_again.within(RETRY_SEC)

    def _reloaded(self, message: Reloaded) -> None:
        self._config_sync.learn(message)
        if not self._config_sync.reloading.locked():  # a reload checks when it ends
            self.check_config()
