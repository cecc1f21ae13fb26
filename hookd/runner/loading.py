# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration as the runner has it: the text, and what this machine says to each hook.

The two are told apart: a mistake in the text is an error, and nothing is loaded; what a hook needs
and the machine has not makes that hook unusable, which is an error only where one is asked for.
Files are read and looked at outside the loop, each hook's for itself.
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

READ_SEC = 15.0  # for all files of the configuration
LOOK_SEC = 5.0  # for one look, at what one hook names
ABREAST = 64  # hooks looked at side by side: those that hang hold up no other before that


class Loaded(msgspec.Struct, frozen=True):
    """A configuration that may be used here. `unusable`: hooks that cannot run now, and why."""

    config: Config
    specs: dict[str, HookSpec]
    notes: list[str]
    unusable: dict[str, list[str]]
    accounts: dict[str, Account]

    @property
    def errors(self) -> list[str]:
        """What speaks against the hooks on this machine, a line each."""
        return [
            f"{self.config.hooks[name].path}: {problem}"
            for name, problems in self.unusable.items()
            for problem in problems
        ]


class Loader:
    """Reads the configuration and looks at its hooks; keeps nothing."""

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
        """Read the files and look at what the hooks need.

        Raises ConfigError with every mistake in the text, Unanswered if the files do not answer.
        """
        trail = Trail()
        read = partial(files.load, self._path, trail)
        loaded = await self._lookups.answer("configuration", read, READ_SEC, trail.words)
        found = await self.examine(loaded.config, list(loaded.notes))
        return msgspec.structs.replace(
            found, notes=found.notes + capabilities.notes(found.config, found.accounts, groups)
        )

    async def examine(self, config: Config, notes: list[str]) -> Loaded:
        """Look at what each hook needs; what is worth a note is added to those of the files."""
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
        """Return whom a hook runs as, and what speaks against running it here."""
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
