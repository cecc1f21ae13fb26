# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hooks that fail again and again are counted and parked, until somebody frees them or their file
changes.

The counts are written to the disk by `hookd.server.dispatch.results`, with the results that
changed them.
"""

from __future__ import annotations

from collections.abc import Iterable

from hookd.config.parse import Config
from hookd.model import FAILURES, Result
from hookd.server.storage.values import HookState
from hookd.system.journal import Journal
from hookd.system.records import HOOK_PARKED, HOOK_RESUMED


class Quarantine:
    """Counts the failures in a row of each hook. `parked` is the scheduler's set."""

    def __init__(self, config: Config, parked: set[str], journal: Journal) -> None:
        self.failures: dict[str, int] = {}
        self._config = config
        self._parked = parked
        self._journal = journal
        self._states: dict[str, HookState] = {}
        self._unsaved: dict[str, HookState] = {}

    def restore(self, states: Iterable[HookState]) -> None:
        """Take over states from the database, except for hooks whose newer state is known here."""
        for state in states:
            if state.name in self._states:
                continue
            self._states[state.name] = state
            self.failures[state.name] = state.failures
            if state.parked and state.digest == self._digest(state.name):
                self._parked.add(state.name)

    def count(self, name: str, result: Result) -> None:
        """Count the end of a run; park a hook that has failed too often in a row."""
        hook = self._config.hooks.get(name)
        if hook is None or result not in FAILURES | {Result.SUCCESS}:
            return
        before = self.failures.get(name, 0)
        self.failures[name] = before + 1 if result in FAILURES else 0
        most = hook.retry.quarantine_after
        if most == 0 or self.failures[name] == before:
            return
        if self.failures[name] >= most and name not in self._parked:
            self._parked.add(name)
            detail = f"{self.failures[name]} failures in a row"
            self._journal.send(HOOK_PARKED, {"HOOKD_HOOK": name}, detail=detail)
        self._remember(name)

    def resume(self, name: str, why: str) -> None:
        """Free a parked hook and forget its failures; `why` is recorded."""
        self.failures.pop(name, None)
        self._parked.discard(name)
        self._remember(name)
        self._journal.send(HOOK_RESUMED, {"HOOKD_HOOK": name}, detail=why)

    def configure(self, config: Config) -> bool:
        """Take a new configuration; return whether it freed a hook whose file has changed."""
        self._config = config
        changed = [n for n in self._parked if self._states[n].digest != self._digest(n)]
        for name in changed:
            self.resume(name, "its file has changed")
        return bool(changed)

    @property
    def unsaved(self) -> list[HookState]:
        """The states that are not on disk yet."""
        return list(self._unsaved.values())

    def saved(self, states: Iterable[HookState]) -> None:
        """Note that these states are on disk."""
        for state in states:
            if self._unsaved.get(state.name) is state:
                del self._unsaved[state.name]

    def _remember(self, name: str) -> None:
        state = HookState(
            name, self.failures.get(name, 0), name in self._parked, self._digest(name)
        )
        self._states[name] = self._unsaved[name] = state

    def _digest(self, name: str) -> str:
        hook = self._config.hooks.get(name)
        return hook.digest if hook is not None else ""
