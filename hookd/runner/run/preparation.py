# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is looked up before each run: the hook's program, and whom it runs as.

Either may hang where it lies on a file system or with a name service that does not answer; it then
holds up the runs that need it and nothing else. Starts nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from hookd.runner.launch.accounts import Account, Book
from hookd.runner.run import capabilities
from hookd.runner.run.invocation import Guise, PreparedHook
from hookd.runner.run.program_check import Checker
from hookd.system.lookups import Asked, Lookups, Unanswered

LOOK_SEC = 1.0  # at least: a shorter limits.timeout is meant for the program

Program = tuple[str, str, str]
"""The key of a look at a program: its path, and the PATH in which env(1) searches."""


class Prepared(msgspec.Struct, frozen=True):
    """What a run can begin with: the program's path with every link resolved, and the guise."""

    path: str
    guise: Guise


class Preparations:
    """Prepares runs; what a hook's account makes of it is kept until the account changes."""

    def __init__(self, lookups: Lookups, checker: Checker, record: Book) -> None:
        self.lookups = lookups
        self.checker = checker
        self.record = record
        self._guises: dict[str, tuple[PreparedHook, Guise]] = {}

    def prepare(
        self, plan: PreparedHook, told: Callable[[Prepared | Exception], None]
    ) -> Preparation:
        """Look up what a run needs; `told` hears it, or the first error, in words.

        limits.timeout bounds that too, though it counts anew from the start of the process.
        """
        return Preparation(self, plan, told)

    def guise(self, plan: PreparedHook, account: Account) -> Guise:
        """Return what a hook has that runs as this account."""
        known = self._guises.get(plan.hook.name)
        if known is not None and known[0] is plan and known[1].account == account:
            return known[1]
        guise = Guise.of(plan.hook, account, capabilities.confined(account))
        self._guises[plan.hook.name] = plan, guise
        return guise


class Preparation:
    """The look-ups for one run, until both have answered, one has failed, or nobody waits."""

    __slots__ = ("_account", "_asked", "_path", "_plan", "_seconds", "_shared", "_timer", "_told")

    def __init__(
        self,
        shared: Preparations,
        plan: PreparedHook,
        told: Callable[[Prepared | Exception], None],
    ) -> None:
        self._shared = shared
        self._plan = plan
        self._told: Callable[[Prepared | Exception], None] | None = told
        self._path: str | None = None
        self._account = shared.record.fresh(plan.wanted)
        program = plan.hook.command.program
        key: Program = ("program", program, plan.search)
        check = partial(shared.checker.check, program, plan.search)
        self._seconds = max(LOOK_SEC, plan.hook.limits.timeout)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._unanswered)
        self._asked: list[Asked[str] | Asked[Account]] = [
            shared.lookups.ask(key, check, self._checked)
        ]
        if self._account is None:
            look_up = partial(shared.record.look_up, plan.wanted)
            self._asked.append(shared.lookups.ask(plan.wanted, look_up, self._looked_up))

    def forget(self) -> None:
        """Wait no longer."""
        self._told = None
        self._timer.cancel()
        for asked in self._asked:
            asked.forget()

    def _unanswered(self) -> None:
        if self._path is None:
            what = f"{self._plan.hook.command.program} could not be looked at"
        else:
            what = f"{words(self._plan)} could not be looked up"
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
            guise = self._shared.guise(self._plan, self._account)
            self._tell(Prepared(self._path, guise))

    def _tell(self, answer: Prepared | Exception) -> None:
        told = self._told
        self.forget()
        if told is not None:
            told(answer)


def words(plan: PreparedHook) -> str:
    """Return whom a hook runs as, in words."""
    wanted = plan.wanted
    user = wanted.user or wanted.fallback
    found = f"user {user}" if user is not None else "the user of hooks"
    return found if wanted.group is None else f"{found} or group {wanted.group}"
