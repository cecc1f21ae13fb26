# SPDX-License-Identifier: LGPL-2.1-or-later
"""Asks the runner which run a process belongs to, and waits a limited time for the answer."""

from __future__ import annotations

import asyncio

from hookd.link import Ask, Belongs
from hookd.server.runs.registry import RunRegistry
from hookd.server.runs.run import Run
from hookd.server.transport.runner_link import RunnerLink

ASK_SEC = 2.0  # for the answer of the runner


class OriginLookup:
    """The questions that the runner has not answered yet, by process."""

    def __init__(self, link: RunnerLink, registry: RunRegistry) -> None:
        self._link = link
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[int | None]] = {}

    async def run_of(self, pid: int) -> Run | None:
        """Return the run that a process belongs to, None if there is none or no answer."""
        if not self._link.connected:
            return None
        answer = self._asked.get(pid)
        if answer is None:
            answer = self._asked[pid] = self._loop.create_future()
            self._link.send(Ask(pid))
        await asyncio.wait({answer}, timeout=ASK_SEC)
        self._asked.pop(pid, None)
        run_id = answer.result() if answer.done() else None
        return self._registry.get(run_id) if run_id is not None else None

    def answered(self, message: Belongs) -> None:
        """Take the runner's answer."""
        answer = self._asked.pop(message.pid, None)
        if answer is not None and not answer.done():
            answer.set_result(message.run_id)
