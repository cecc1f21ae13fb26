# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keeps the configuration of both processes the same: each reads the files itself, and no hook
starts until both have read the same.

This file decides nothing about hooks: the daemon adopts the configuration and asks for the
`objection`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import msgspec

from hookd.config import files
from hookd.config.files import Loaded, Trail
from hookd.errors import ConfigError
from hookd.link import Adopt, Reload, Reloaded, Usability, Welcome
from hookd.server.api.principals import Admitted, admitted
from hookd.server.dispatch.handover import Handover
from hookd.server.transport.runner_link import RunnerLink
from hookd.system.lookups import Lookups, Unanswered

TRIES = 3  # if the files change while both processes read them
READ_SEC = 15.0  # for all files of the configuration, and the names of [access]
RELOAD_SEC = 60.0  # for the runner to read the configuration and to check all programs


class Agreed(msgspec.Struct, frozen=True):
    """A configuration that both processes have read, and its access policy."""

    loaded: Loaded
    admitted: Admitted


class ConfigSync:
    """Knows the configuration of the runner, and changes it to a new one.

    `notes` are those of the runner. `unusable` are the hooks that it cannot start now, with the
    reason.
    `reloading` is locked while a reload is under way.
    """

    def __init__(self, path: Path | None, link: RunnerLink, handover: Handover) -> None:
        self.notes: list[str] = []
        self.unusable: dict[str, str] = {}
        self.reloading = asyncio.Lock()
        self._lookups = Lookups()
        self._held: Reloaded | None = None
        self._path = path
        self._link = link
        self._handover = handover
        self._digest = ""
        self._errors: list[str] = []
        self._answer: asyncio.Future[None] | None = None

    def learn(self, said: Welcome | Reloaded) -> None:
        """Store which configuration the runner has read."""
        if isinstance(said, Reloaded) and said.held:
            self._held, self._errors = said, []
        else:
            self._held, self._digest, self._errors = None, said.digest, said.errors
            self.notes, self.unusable = said.notes, dict(said.unusable)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def usability(self, said: Usability) -> None:
        """Store whether one hook can be started now."""
        if said.reason is None:
            self.unusable.pop(said.hook, None)
        else:
            self.unusable[said.hook] = said.reason

    def close(self) -> None:
        """Stop reading the files."""
        self._lookups.close()

    def lost(self) -> None:
        """Note that the runner is not connected and will not answer."""
        if self._answer is not None:
            self._answer.cancel()

    def objection(self, digest: str) -> str | None:
        """Return why no hook may start under this configuration; None if hooks may start."""
        if self._digest == digest:
            return None
        why = "; ".join(self._errors) or "it has read other files than the server: hookctl reload"
        return f"no hook starts, the runner's configuration differs: {why}"

    async def read(self) -> Agreed:
        """Read the files again in both processes; the runner also checks the programs.

        Meanwhile, runs start under the configuration in force: the runner keeps the new one aside
        until `adopt`, which must be called before anything else is sent. Raises ConfigError with
        the errors of either process.
        """
        for _ in range(TRIES):
            agreed = await self._read()
            if self._handover.instance is None:
                return agreed
            await self._ask()
            if self._errors:
                raise ConfigError(self._errors)
            digest = self._digest if self._held is None else self._held.digest
            if digest == agreed.loaded.config.digest:
                return agreed
        raise ConfigError(["the files changed while they were read; try again"])

    def adopt(self) -> None:
        """Make the runner use the configuration that it has read and kept aside."""
        if self._held is not None:
            held, self._held = self._held, None
            self._link.send(Adopt(held.digest))
            self._digest, self.notes = held.digest, held.notes
            self.unusable = dict(held.unusable)

    async def _read(self) -> Agreed:
        trail = Trail()
        work = partial(_read, self._path, trail)
        try:
            return await self._lookups.answer("configuration", work, READ_SEC, trail.words)
        except Unanswered as e:
            raise ConfigError([str(e)]) from None

    async def _ask(self) -> None:
        self._answer = asyncio.get_running_loop().create_future()
        self._link.send(Reload(hold=True))
        try:
            await asyncio.wait_for(self._answer, RELOAD_SEC)
        except (asyncio.CancelledError, TimeoutError):
            raise ConfigError(["the runner did not answer; try again"]) from None
        finally:
            self._answer = None


def _read(path: Path | None, trail: Trail) -> Agreed:
    """Read the files and look up the names of `[access]`. Raises ConfigError."""
    read = files.read(path, trail)
    trail.at("the users and groups of [access]")
    found = admitted(read.config.access)
    if errors := read.errors + found.errors:
        raise ConfigError(errors)
    return Agreed(read.loaded, found)
