# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration that the runner uses, and which of its hooks can run.

The files are read outside the event loop, however long they take. The previous configuration
stays in use meanwhile. This module knows no run: the caller that checks a hook before a run
reports the finding here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hookd.errors import ConfigError
from hookd.link import Message, Reload, Reloaded, Usability
from hookd.runner.launch.cgroup import Groups
from hookd.runner.loading import Loaded, Loader
from hookd.system import faults, records
from hookd.system.journal import Journal
from hookd.system.lookups import Unanswered


class Configuration:
    """The configuration in use.

    `loaded` is None until a configuration has been read. `errors` are those of the one that was
    read last. `unusable` maps each hook that could not be started when it was last checked to the
    reason. `adopted` is called whenever another configuration comes into use.
    """

    def __init__(
        self,
        loader: Loader,
        groups: Groups | None,
        journal: Journal,
        send: Callable[[Message], None],
        adopted: Callable[[], None],
    ) -> None:
        self.loaded: Loaded | None = None
        self.errors: list[str] = []
        self.unusable: dict[str, str] = {}
        self._loader = loader
        self._groups = groups
        self._journal = journal
        self._send = send
        self._on_adopted = adopted
        self._held: Loaded | None = None
        self._said: set[str] = set()
        self._asked: list[Reload] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def digest(self) -> str:
        """The digest of the configuration in use, or "" if there is none."""
        return "" if self.loaded is None else self.loaded.config.digest

    @property
    def notes(self) -> list[str]:
        """The notes on the configuration in use."""
        return [] if self.loaded is None else self.loaded.notes

    async def load(self) -> None:
        """Read the configuration for the first time, and record the findings.

        A hook that cannot run on this machine now is unusable; all others can start. Raises
        ConfigError if the text has errors, and Unanswered if reading the files takes too long.
        """
        try:
            loaded = await self._loader.load(self._groups)
        except ConfigError as e:
            self._refuse(e.errors)
            raise
        except Unanswered as e:
            self._refuse([str(e)])
            raise
        self._use_all(loaded)

    def reload(self, asked: Reload) -> None:
        """Read the configuration again and send the outcome.

        A request that arrives during a reload is answered by the next one.
        """
        self._asked.append(asked)
        if self._task is None:
            self._task = faults.keep("a reload", self._answer_all)

    def adopt(self, digest: str) -> None:
        """Use the held configuration if it has this digest."""
        if self._held is not None and self._held.config.digest == digest:
            self._use_all(self._held)

    def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()

    def found(self, hook: str, reason: str | None) -> None:
        """Note whether a hook can be started now, and tell the server.

        `reason` says why it cannot, or is None. The journal gets one record when the hook becomes
        unusable and one when it becomes usable again. If only the reason changes, `status` and
        the results of the runs show it.
        """
        before = self.unusable.get(hook)
        if before == reason or self.loaded is None or hook not in self.loaded.specs:
            return
        if reason is None:
            del self.unusable[hook]
            self._journal.send(records.HOOK_USABLE, {"HOOKD_HOOK": hook}, detail="")
        else:
            self.unusable[hook] = reason
            if before is None:
                self._journal.send(records.HOOK_UNUSABLE, {"HOOKD_HOOK": hook}, detail=reason)
        self._send(Usability(hook, reason))

    async def _answer_all(self) -> None:
        """Answer all requests. If this raises, the next call answers those that remain."""
        while self._asked:
            asked = list(self._asked)
            answer = await self._answer(asked)
            for _ in asked:
                self._send(answer)
                self._asked.pop(0)
        self._task = None

    async def _answer(self, asked: list[Reload]) -> Reloaded:
        """Read the files once for all requests, strictly if any of them is strict."""
        hold = all(reload.hold for reload in asked)
        self._held = loaded = await self._read(any(reload.strict for reload in asked))
        if loaded is not None and hold:
            return Reloaded(loaded.config.digest, [], loaded.notes, _reasons(loaded), held=True)
        if loaded is not None:
            self._use_all(loaded)
        return Reloaded(self.digest, self.errors, self.notes, self.unusable)

    async def _read(self, strict: bool) -> Loaded | None:
        """Return the configuration, or record its errors and return None if it cannot be used."""
        errors: list[str] = []
        try:
            loaded = await self._loader.load(self._groups)
            errors = loaded.errors if strict else []
        except ConfigError as e:
            errors = e.errors
        except Unanswered as e:
            errors = [str(e)]
        except Exception as e:  # every request must be answered, whatever the error
            faults.report(e, "reading the configuration")
            errors = [faults.words(e)]
        self._refuse(errors)
        return None if errors else loaded

    def _refuse(self, errors: list[str]) -> None:
        self.errors = errors
        for error in errors:
            self._journal.send(records.CONFIG_REFUSED, detail=error)

    def _use_all(self, loaded: Loaded) -> None:
        self.loaded, self._held, self.errors = loaded, None, []
        self._on_adopted()
        detail = f"{len(loaded.specs)} hooks configured"
        self._journal.send(records.CONFIG_LOADED, detail=detail)
        for note in loaded.notes:
            if note not in self._said:
                self._said.add(note)
                self._journal.send(records.CONFIG_NOTE, detail=note)
        for hook in self.unusable.keys() - loaded.specs.keys():
            del self.unusable[hook]
        reasons = _reasons(loaded)
        for hook in loaded.specs:
            self.found(hook, reasons.get(hook))


def _reasons(loaded: Loaded) -> dict[str, str]:
    return {hook: "; ".join(problems) for hook, problems in loaded.unusable.items()}
