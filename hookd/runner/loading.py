# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration as the runner has it: the text, and whether each hook can run here.

A mistake in the text is an error, and nothing is loaded. A hook that needs something that this
machine lacks is unusable, which is an error only if the caller asks for strictness. Files are read
and examined outside the event loop, each hook separately.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import msgspec

from hookd.config import files
from hookd.config.files import Trail
from hookd.config.parse import Config
from hookd.runner.launch import capabilities
from hookd.runner.launch.accounts import Account
from hookd.runner.launch.cgroup import Groups
from hookd.runner.run import program_check
from hookd.runner.run.invocation import HookSpec
from hookd.runner.run.resolver import Resolver, words
from hookd.system.lookups import Unanswered

READ_SEC = 15.0  # for reading all files of the configuration
LOOK_SEC = 5.0  # for each of the two look-ups of one hook
ABREAST = 64  # hooks examined at a time; fewer hanging ones delay no other


class Loaded(msgspec.Struct, frozen=True):
    """A configuration that may be used here. `unusable` maps hooks that cannot run to reasons."""

    config: Config
    specs: dict[str, HookSpec]
    notes: list[str]
    unusable: dict[str, list[str]]
    accounts: dict[str, Account]

    @property
    def errors(self) -> list[str]:
        """The reasons why hooks cannot run on this machine, a line each."""
        return [
            f"{self.config.hooks[name].path}: {problem}"
            for name, problems in self.unusable.items()
            for problem in problems
        ]


class Loader:
    """Reads the configuration and examines its hooks; keeps nothing."""

    def __init__(
        self,
        path: Path | None,
        fallback: str | None,
        resolver: Resolver,
    ) -> None:
        self._path = path
        self._fallback = fallback
        self._lookups = resolver.lookups
        self._checker = resolver.checker
        self._accounts = resolver.accounts

    async def load(self, groups: Groups | None) -> Loaded:
        """Read the files and examine what the hooks need.

        Raises ConfigError with every mistake in the text, and Unanswered if reading the files
        takes longer than READ_SEC.
        """
        trail = Trail()
        read = partial(files.load, self._path, trail)
        loaded = await self._lookups.answer("configuration", read, READ_SEC, trail.words)
        found = await self.examine(loaded.config, list(loaded.notes))
        return msgspec.structs.replace(
            found, notes=found.notes + capabilities.notes(found.config, found.accounts, groups)
        )

    async def examine(self, config: Config, notes: list[str]) -> Loaded:
        """Examine what each hook needs; add the notes on the hooks to `notes`."""
        specs = {hook.name: HookSpec.of(hook, self._fallback) for hook in config.hooks.values()}
        room = asyncio.Semaphore(ABREAST)
        found = await asyncio.gather(*(self._examine(spec, room) for spec in specs.values()))
        unusable = {name: why for name, (_, why) in zip(specs, found, strict=True) if why}
        accounts = {
            name: account for name, (account, _) in zip(specs, found, strict=True) if account
        }
        signs = [line for spec in specs.values() for line in capabilities.shell_signs(spec.hook)]
        return Loaded(config, specs, notes + signs, unusable, accounts)

    async def _examine(
        self, spec: HookSpec, room: asyncio.Semaphore
    ) -> tuple[Account | None, list[str]]:
        """Return the account that a hook runs as, and the reasons why it cannot run here."""
        account, problems = None, []
        async with room:
            try:
                account = await self._lookups.answer(
                    spec.wanted,
                    partial(self._accounts.look_up, spec.wanted),
                    LOOK_SEC,
                    lambda: words(spec),
                )
            except (LookupError, Unanswered) as e:
                problems.append(str(e))
            trail = Trail()
            look = partial(program_check.problems, self._checker, spec, account, trail)
            try:
                problems += await self._lookups.answer(
                    ("hook", spec.hook.name, spec.hook.digest, account),
                    look,
                    LOOK_SEC,
                    trail.words,
                )
            except Unanswered as e:
                problems.append(str(e))
        return account, problems
