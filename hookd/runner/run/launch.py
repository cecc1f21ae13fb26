# SPDX-License-Identifier: LGPL-2.1-or-later
"""A run's use of its launcher, until the launcher is returned to the pool.

This module gives the launcher its order, ends the processes below it and returns it to the pool.
The supervisor decides when to do each of these.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from hookd.link import Start
from hookd.runner.launch.pool import Launcher
from hookd.runner.launch.profile import Report
from hookd.runner.run import invocation
from hookd.runner.run.invocation import HookSpec, Invocation
from hookd.runner.run.output import Output
from hookd.runner.run.resolver import Resolved
from hookd.runner.run.services import Services
from hookd.runner.run.termination import Termination

LEFTOVER_GRACE_SEC = 1.0  # between TERM and KILL for leftovers


class Launch:
    """The launcher of a run, and the processes below it."""

    def __init__(
        self, services: Services, launcher: Launcher, resolved: Resolved, invocation: Invocation
    ) -> None:
        self.launcher = launcher
        self.account = resolved.settings.account
        self.termination = Termination(
            launcher, services.slices, services.journal, invocation.fields
        )
        self._pool = services.pool
        self._survivors = services.survivors
        self._path = resolved.path
        self._invocation = invocation

    def order(
        self,
        spec: HookSpec,
        start: Start,
        output: Output,
        listener: Callable[[Report | None], None],
    ) -> None:
        """Have the launcher start the program; `listener` is called with its reports.

        Raises OSError, SpawnError.
        """
        launcher, run = self.launcher, spec.hook.run
        fds: list[int] = []
        try:
            if launcher.group is not None:
                launcher.group.begin()
            fds.append(invocation.stdin(spec, start))
            fds += output.open(self.account.uid)
            launcher.listener = listener
            given = self._invocation
            launcher.order(
                self._path, run.working_directory, run.umask, given.argv, given.env, fds
            )
        finally:
            for fd in fds:
                os.close(fd)

    async def terminate(self, grace: float, main_ended: Callable[[], bool]) -> None:
        """End everything below the launcher: TERM, then KILL after `grace` seconds.

        `main_ended` tells whether the main process has ended. Every process killed after that is
        a leftover.
        """
        if grace > 0:
            await self.termination.terminate(grace)
        await self.termination.kill(main_ended)

    async def clear(self, grace: float, *, keep: bool) -> None:
        """Handle the leftovers after the main process has ended by itself.

        With `keep`, leftovers may stay. Otherwise they get TERM, then KILL after `grace` seconds
        or LEFTOVER_GRACE_SEC, whichever is shorter.
        """
        work = self.termination
        if await work.take_stock() and not keep:
            await work.terminate(min(LEFTOVER_GRACE_SEC, grace))
        if not work.leftovers or not keep:
            await work.kill(lambda: True)

    def has(self, listener: Callable[[Report | None], None]) -> bool:
        """Whether the launcher is alive and reports to this listener."""
        return self.launcher.alive and self.launcher.listener == listener

    def drop(self) -> None:
        """End the launcher and everything below it."""
        self._pool.drop(self.launcher)

    def give_back(self) -> None:
        """Return the launcher to the pool after a run that started no process."""
        self._pool.give_back(self.launcher)

    def release(self, *, keep: bool) -> None:
        """Give up the launcher at the end of the run. With `keep`, leftovers may stay."""
        launcher, group = self.launcher, self.launcher.group
        if not launcher.alive:
            self._pool.drop(launcher)
        elif not self.termination.gone.is_set():
            self._survivors.take(launcher, kept=keep)
        elif group is not None and not group.clean:
            self._pool.drop(launcher)
        else:
            self._pool.give_back(launcher)
