# SPDX-License-Identifier: LGPL-2.1-or-later
"""The state of the runner: its configuration, the runs, and their results.

The runner starts a run_id at most once. It keeps a result until the result is settled.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec

import hookd
from hookd import link
from hookd.model import Receipt, Result
from hookd.runner.configuration import Configuration
from hookd.runner.launch import process
from hookd.runner.launch.cgroup import Groups
from hookd.runner.loading import Loader
from hookd.runner.run import invocation
from hookd.runner.run.outcome import Cause
from hookd.runner.run.services import Services
from hookd.runner.run.supervisor import Supervisor
from hookd.system import faults, records
from hookd.system.journal import Journal

LAST_WAIT_SEC = 30.0  # after kill_grace, for processes stuck in the kernel and a stuck journal
PART = 1000  # runs, and results, in one Welcome: at most four megabytes
MOST_KEPT = 10_000  # results that are not settled; with more, no further run is started
MOST_KEPT_BYTES = 16 * 1024 * 1024  # the same for their size on the link
DRAIN_SEC = 60.0  # that running hooks have when the runner stops without a configuration


class Runner:
    """All runs. `send` takes every message for the server, whether it is connected or not."""

    def __init__(
        self,
        path: Path | None,
        default_user: str | None,
        journal: Journal,
        groups: Groups | None,
        send: Callable[[link.Message], None],
    ) -> None:
        self._journal = journal
        self._send = send
        self._instance = uuid.uuid4().hex
        self._running: dict[int, Supervisor] = {}
        self._ended: dict[int, Receipt] = {}
        self._kept_bytes = 0
        self.faults: Callable[[], int] = lambda: 0  # the number of faults in this process
        self._stopping = False
        self._idle = asyncio.Event()
        self._settled = asyncio.Event()
        self._services = services = Services.of(groups, journal)
        loader = Loader(path, default_user, services.resolver)
        self.configuration = Configuration(loader, groups, journal, send, services.pool.forget)

    @property
    def status(self) -> str:
        """One line for `systemctl status`."""
        if self._stopping:
            return f"Stopping: {len(self._running)} hooks still run"
        loaded, unusable = self.configuration.loaded, len(self.configuration.unusable)
        if loaded is None:
            return "Reading the configuration"
        words = f"{len(self._running)} hooks run, {len(loaded.specs)} configured"
        return f"{words}, {unusable} unusable" if unusable else words

    @property
    def drain(self) -> float:
        """Seconds that a stop waits for running hooks."""
        loaded = self.configuration.loaded
        return DRAIN_SEC if loaded is None else loaded.config.daemon.drain

    @property
    def longest_end(self) -> float:
        """The most seconds that the current runs take to end once they are told to."""
        return max((run.kill_grace for run in self._running.values()), default=0) + LAST_WAIT_SEC

    @property
    def undelivered(self) -> dict[int, Receipt]:
        """The results that are not settled, by run_id."""
        return self._ended

    def remember(self, results: dict[int, Receipt]) -> None:
        """Keep these results of an earlier runner, too, until they are settled."""
        for run_id, receipt in results.items():
            self._keep(run_id, receipt)

    def start(self) -> None:
        """Prepare to run hooks. Raises ProgramError."""
        self._services.pool.start()

    def welcome(self) -> list[link.Message]:
        """Return the first messages to a server that connects.

        One frame cannot hold all runs and results. Each message carries a part of them, and all
        but the last have `more` set.
        """
        running = [link.Running(run_id, run.started_usec) for run_id, run in self._running.items()]
        ended = [link.Ended(run_id, receipt) for run_id, receipt in self._ended.items()]
        configuration = self.configuration
        parts = max(1, -(-len(running) // PART), -(-len(ended) // PART))
        return [
            link.Welcome(
                self._instance,
                configuration.digest,
                configuration.errors,
                configuration.notes,
                running[part * PART : (part + 1) * PART],
                ended[part * PART : (part + 1) * PART],
                hookd.__version__,
                self.faults(),
                more=part + 1 < parts,
                unusable=configuration.unusable,
            )
            for part in range(parts)
        ]

    def take(self, message: link.Message) -> None:
        """Act on a message of the server."""
        if isinstance(message, link.Start):
            self._begin(message)
        elif isinstance(message, link.Settled):
            for run_id in message.run_ids:
                if (receipt := self._ended.pop(run_id, None)) is not None:
                    self._kept_bytes -= _size(run_id, receipt)
            if not self._ended:
                self._settled.set()
        elif isinstance(message, link.Cancel):
            if run := self._running.get(message.run_id):
                run.end(Cause(Result.CANCELLED, reason=message.reason))
        elif isinstance(message, link.List):
            for part in self.welcome():
                self._send(part)
        elif isinstance(message, link.Ask):
            self._send(link.Belongs(message.pid, self._run_of(message.pid)))
        elif isinstance(message, link.Reload):
            self.configuration.reload(message)
        elif isinstance(message, link.Adopt):
            self.configuration.adopt(message.digest)

    def failed(self, message: link.Message, error: Exception) -> None:
        """Answer a message of the server whose handling met a fault."""
        words = faults.words(error)
        if isinstance(message, link.Start):
            if message.run_id not in self._running and message.run_id not in self._ended:
                self._answer(message.run_id, unstarted(Result.SPAWN_FAILED, words))
        elif isinstance(message, link.Ask):
            self._send(link.Belongs(message.pid, None))
        elif isinstance(message, link.Reload):
            configuration = self.configuration
            self._send(link.Reloaded(configuration.digest, [words], configuration.notes))

    async def stop(self, drain: float) -> None:
        """Wait `drain` seconds for the running hooks, then end them. Start no new one."""
        self._stopping = True
        for run in list(self._running.values()):
            if run.resolving:  # its look-ups may never be answered
                run.end(Cause(Result.INTERRUPTED, reason="the runner was stopped"))
        if not await self._all_ended(drain):
            longest = self.longest_end
            for run in list(self._running.values()):
                run.end(Cause(Result.INTERRUPTED, reason="the runner was stopped"))
            await self._all_ended(longest)

    async def settle(self, seconds: float) -> None:
        """Wait until all results are settled, at most this many seconds."""
        self._settled.clear()
        if self._ended:
            await _event(self._settled, seconds)

    def close(self) -> None:
        """End all launchers and the zygote."""
        self.configuration.close()
        self._services.close()

    def _begin(self, start: link.Start) -> None:
        if start.run_id in self._running or start.run_id in self._ended:
            return
        if len(self._ended) >= MOST_KEPT or self._kept_bytes >= MOST_KEPT_BYTES:
            # This result is not kept. A server that misses the message finds after a connect that
            # the runner does not know the run.
            reason = f"{len(self._ended)} results wait for the server to have them on disk"
            self._send(link.Ended(start.run_id, unstarted(Result.INTERRUPTED, reason)))
            return
        if self._stopping:
            self._answer(start.run_id, unstarted(Result.INTERRUPTED, "the runner is stopping"))
            return
        loaded = self.configuration.loaded
        spec = None if loaded is None else loaded.specs.get(start.hook)
        if spec is None:
            self._unknown(start)
            return

        def printed(stream: str, text: str) -> None:
            self._send(link.Printed(start.run_id, stream, text))

        run = Supervisor(self._services, spec, start, self._has_started, self._has_ended, printed)
        self._running[start.run_id] = run
        try:
            run.begin()
        except Exception as e:  # any error ends this run and not the link
            faults.report(e, "the start of a run")
            run.give_up(e)

    def _run_of(self, pid: int) -> int | None:
        """Return the run that a process belongs to: its launcher is an ancestor of the process.

        Return None if there is none.
        """
        launchers = {
            run.launcher.pid: run_id
            for run_id, run in self._running.items()
            if run.launcher is not None
        }
        while pid > 1 and pid not in launchers:
            pid = process.status(pid).parent
        return launchers.get(pid)

    def _unknown(self, start: link.Start) -> None:
        receipt = unstarted(Result.SPAWN_FAILED, f"no hook {start.hook!r} is configured")
        self._journal.send(
            records.RUN_ENDED,
            records.receipt_fields(receipt),
            context=invocation.minimal(start),
            detail=records.receipt_words(receipt),
            priority=records.PRIORITY[receipt.result],
        )
        self._answer(start.run_id, receipt)

    def _has_started(self, run: Supervisor) -> None:
        if self.configuration.unusable:
            self.configuration.found(run.hook, None)
        self._send(link.Started(run.run_id, run.started_usec or 0))

    def _has_ended(self, run: Supervisor, receipt: Receipt) -> None:
        if run.run_id not in self._running:
            return  # its end has been reported already
        if run.unusable is not None:
            self.configuration.found(run.hook, run.unusable)
        self._answer(run.run_id, receipt)
        del self._running[run.run_id]
        if not self._running:
            self._idle.set()

    def _answer(self, run_id: int, receipt: Receipt) -> None:
        self._send(link.Ended(run_id, self._keep(run_id, receipt)))

    def _keep(self, run_id: int, receipt: Receipt) -> Receipt:
        """Keep a result until it is settled; return it in a form that the link can carry."""
        try:
            size = _size(run_id, receipt)
        except UnicodeEncodeError:  # a path or a name that is not UTF-8
            receipt = msgspec.structs.replace(
                receipt, reason=_told(receipt.reason), last_line=_told(receipt.last_line)
            )
            size = _size(run_id, receipt)
        self._ended[run_id] = receipt
        self._kept_bytes += size
        return receipt

    async def _all_ended(self, seconds: float) -> bool:
        self._idle.clear()
        return not self._running or await _event(self._idle, seconds)


def _size(run_id: int, receipt: Receipt) -> int:
    """Return the size of a result on the link, in bytes. Raises UnicodeEncodeError."""
    return len(link.encode([link.Ended(run_id, receipt)]))


def _told(text: str | None) -> str | None:
    return text.encode(errors="backslashreplace").decode() if text is not None else None


async def _event(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def unstarted(result: Result, reason: str) -> Receipt:
    """Return the receipt of a run that was never started."""
    return Receipt(result=result, reason=reason, ended_usec=time.time_ns() // 1000)
