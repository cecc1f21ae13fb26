# SPDX-License-Identifier: LGPL-2.1-or-later
"""One configuration for two processes: each reads the files itself, and no hook starts until both
have read the same.

Decides nothing of hooks: the daemon adopts what was agreed on, and asks for the `objection`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from hookd import confdir
from hookd.confdir import Loaded
from hookd.errors import ConfigError
from hookd.link import Reload, Reloaded, Welcome
from hookd.server.access import principals
from hookd.server.runnerlink import RunnerLink
from hookd.server.starts import Starts

TRIES = 3  # when the files change while both processes read them
RELOAD_SEC = 30.0  # for the runner to read the configuration


class Agreement:
    """What the runner has read, and the way to something new. `notes` are the runner's."""

    def __init__(self, path: Path | None, link: RunnerLink, starts: Starts) -> None:
        self.notes: list[str] = []
        self._path = path
        self._link = link
        self._starts = starts
        self._digest = ""
        self._errors: list[str] = []
        self._answer: asyncio.Future[None] | None = None

    def told(self, said: Welcome | Reloaded) -> None:
        """Note what the runner has read."""
        self.notes, self._digest, self._errors = said.notes, said.digest, said.errors
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def lost(self) -> None:
        """Note that nobody will answer."""
        if self._answer is not None:
            self._answer.cancel()

    def objection(self, digest: str) -> str | None:
        """Return why no hook may start under this configuration, None where all is well."""
        if self._digest == digest:
            return None
        why = "; ".join(self._errors) or "it has read other files than the server: hookctl reload"
        return f"no hook starts, the runner's configuration differs: {why}"

    async def read(self) -> Loaded:
        """Read the files anew, in both processes; the runner looks at the programs, too.

        From the question to the runner on nothing starts, until the daemon has asked for the
        objection: a start on its way would run under what the runner has read since. Raises
        ConfigError with what either of them says.
        """
        for _ in range(TRIES):
            loaded = await asyncio.to_thread(confdir.load, self._path)
            principals(loaded.config.access)
            if self._starts.instance is None:
                return loaded
            self._starts.ready = False
            await self._ask()
            if self._errors:
                raise ConfigError(self._errors)
            if self._digest == loaded.config.digest:
                return loaded
        raise ConfigError(["the files changed while they were read; try again"])

    async def _ask(self) -> None:
        self._answer = asyncio.get_running_loop().create_future()
        self._link.send(Reload())
        try:
            await asyncio.wait_for(self._answer, RELOAD_SEC)
        except (asyncio.CancelledError, TimeoutError):
            raise ConfigError(["the runner did not answer; try again"]) from None
        finally:
            self._answer = None
