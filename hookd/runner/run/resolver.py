# SPDX-License-Identifier: LGPL-2.1-or-later
"""The look-ups before each run: the hook's program, and the account that it runs as.

A look-up may hang if a file system or a name service does not answer. It then delays only the runs
that need it. This module starts nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from hookd.runner.launch import capabilities
from hookd.runner.launch.accounts import Account, AccountCache
from hookd.runner.run.invocation import HookSpec, LaunchSettings
from hookd.runner.run.program_check import Checker
from hookd.system import faults
from hookd.system.lookups import Asked, Lookups, Unanswered

LOOK_SEC = 1.0  # that look-ups have at least, even if limits.timeout is shorter

Program = tuple[str, str, str]
"""The key of a program's look-up: its path, and the PATH that env(1) searches."""


class Resolved(msgspec.Struct, frozen=True):
    """The path of a run's program, with every symbolic link resolved, and the run's settings."""

    path: str
    settings: LaunchSettings


class Resolver:
    """Looks up what runs need. Keeps the settings of a hook until its account changes."""

    def __init__(self, lookups: Lookups, checker: Checker, accounts: AccountCache) -> None:
        self.lookups = lookups
        self.checker = checker
        self.accounts = accounts
        self._settings: dict[str, tuple[HookSpec, LaunchSettings]] = {}

    def resolve(self, spec: HookSpec, told: Callable[[Resolved | Exception], None]) -> Resolution:
        """Look up what a run needs; call `told` later with the answer or with the first error.

        The look-ups may take limits.timeout, but at least LOOK_SEC. limits.timeout starts again
        with the program.
        """
        return Resolution(self, spec, told)

    def settings(self, spec: HookSpec, account: Account) -> LaunchSettings:
        """Return the settings of a hook that runs as this account."""
        known = self._settings.get(spec.hook.name)
        if known is not None and known[0] is spec and known[1].account == account:
            return known[1]
        settings = LaunchSettings.of(spec.hook, account, capabilities.confined(account))
        self._settings[spec.hook.name] = spec, settings
        return settings


class Resolution:
    """The look-ups for one run, until both have answered, one has failed or `forget` is called."""

    __slots__ = ("_account", "_asked", "_path", "_seconds", "_shared", "_spec", "_timer", "_told")

    def __init__(
        self,
        shared: Resolver,
        spec: HookSpec,
        told: Callable[[Resolved | Exception], None],
    ) -> None:
        self._shared = shared
        self._spec = spec
        self._told: Callable[[Resolved | Exception], None] | None = told
        self._path: str | None = None
        self._account = shared.accounts.fresh(spec.wanted)
        program = spec.hook.command.program
        key: Program = ("program", program, spec.search)
        check = partial(shared.checker.check, program, spec.search)
        self._seconds = max(LOOK_SEC, spec.hook.limits.timeout)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._give_up)
        self._asked: list[Asked[str] | Asked[Account]] = [
            shared.lookups.ask(key, check, self._checked)
        ]
        if self._account is None:
            look_up = partial(shared.accounts.look_up, spec.wanted)
            self._asked.append(shared.lookups.ask(spec.wanted, look_up, self._looked_up))

    def forget(self) -> None:
        """Stop waiting, and do not call `told`."""
        self._told = None
        self._timer.cancel()
        for asked in self._asked:
            asked.forget()

    def _give_up(self) -> None:
        faults.guarded("a look-up without an answer", self._unanswered, self._tell)

    def _unanswered(self) -> None:
        if self._path is None:
            what = f"{self._spec.hook.command.program} could not be examined"
        else:
            what = f"{words(self._spec)} could not be looked up"
        self._tell(Unanswered(f"{what} within {self._seconds:g} s: no answer"))

    def _checked(self, answer: str | Exception) -> None:
        if isinstance(answer, Exception):
            self._tell(answer)
        else:
            self._path = answer
            self._go_on()

    def _looked_up(self, answer: Account | Exception) -> None:
        if isinstance(answer, Exception):
            self._tell(answer)
        else:
            self._account = answer
            self._go_on()

    def _go_on(self) -> None:
        if self._path is not None and self._account is not None:
            settings = self._shared.settings(self._spec, self._account)
            self._tell(Resolved(self._path, settings))

    def _tell(self, answer: Resolved | Exception) -> None:
        told = self._told
        self.forget()
        if told is not None:
            faults.guarded("a run", partial(told, answer), told)


def words(spec: HookSpec) -> str:
    """Return the account that a hook runs as, in words."""
    wanted = spec.wanted
    user = wanted.user or wanted.fallback
    found = f"user {user}" if user is not None else "the default user of hooks"
    return found if wanted.group is None else f"{found} or group {wanted.group}"
