# SPDX-License-Identifier: LGPL-2.1-or-later
"""The link to the runner: connects, reconnects, and carries messages without interpreting them.

`connect` uses a runner that has its own unit; `start` runs one as a child, which ends with the
server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from hookd.link import CHUNK, FrameReader, Message, encode_all
from hookd.system import faults

SLICE = 256  # messages handled in one iteration of the loop: some milliseconds
MOST_INBOX = 4 * SLICE  # waiting messages above which no more are read
LASTING_SEC = 10.0  # a shorter connection counts as a failure, such as a runner that crashes
RETRY_SEC = (0.05, 0.1, 0.25, 0.5, 1.0)  # between attempts to connect; the last repeats
UNSERVED_SEC = (*RETRY_SEC, 2.0, 5.0, 10.0)
"""The same after connections without a message: each attempt starts a runner that cannot serve."""
CHILD_END_SEC = 90.0  # for a child to end its runs; more than any sensible kill_grace

SERVICE_VARIABLES = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
"""Variables that the service manager sets only for this process: see sd_notify(3)."""


class RunnerLink(faults.Connection):
    """One connection to the runner at a time, as long as hookd runs."""

    def __init__(
        self, on_messages: Callable[[list[Message]], None], on_lost: Callable[[str], None]
    ) -> None:
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._chunk = memoryview(bytearray(CHUNK))
        self._transport: asyncio.Transport | None = None
        self._outbox: list[Message] = []
        self._flush_soon = faults.Timer(self._flush)
        self._inbox: deque[Message] = deque()
        self._hand_on_soon = faults.Timer(self._hand_on)
        self._lost = asyncio.Event()
        self._heard = False  # whether this connection has received anything
        self._task: asyncio.Task[None] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def connect(self, path: Path) -> None:
        """Keep a connection to the runner that listens at this path."""
        self._task = faults.keep("the link", lambda: self._keep(lambda: self._connect(path)))

    def start(self, command: list[str]) -> None:
        """Keep a runner as a child, started with `command` and `--link-fd N`."""
        self._task = faults.keep("the link", lambda: self._keep(lambda: self._start(command)))

    @property
    def connected(self) -> bool:
        """Whether a runner is connected."""
        return self._transport is not None

    def send(self, message: Message) -> None:
        """Send a message with all others of this iteration of the loop; drop it without a link.

        The sender repeats messages that must not be lost after the next Welcome.
        """
        if self._transport is None:
            return
        self._flush_soon.soon()
        self._outbox.append(message)

    def drop(self) -> None:
        """Close this connection; the next one begins with a Welcome that lists all runs."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self, drain: float) -> None:
        """Close the link; this also ends a child runner, which gives its runs `drain` seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._child is not None and self._transport is not None:
            self._flush()
            self._child.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), drain + CHILD_END_SEC)
        if self._transport is not None:
            self._flush()
            self._transport.close()
        if self._child is not None:
            await self._reap(self._child)

    async def _keep(self, attempt: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while True:
            if self._transport is not None:  # left by an error
                self._transport.abort()
                await self._lost.wait()
            if self._child is not None:
                await self._reap(self._child)
            self._lost.clear()
            try:
                await attempt()
            except OSError as e:
                self._on_lost(e.strerror or str(e))
                failures += 1
                unserved = False
            else:
                began = self._loop.time()
                await self._lost.wait()
                lasted = self._loop.time() - began
                failures = failures + 1 if lasted < LASTING_SEC else 0
                unserved = not self._heard
            pauses: tuple[float, ...] = UNSERVED_SEC if unserved else RETRY_SEC
            await asyncio.sleep(pauses[min(failures, len(pauses) - 1)])

    async def _connect(self, path: Path) -> None:
        await self._loop.create_unix_connection(lambda: self, str(path))

    async def _start(self, command: list[str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [*command, "--link-fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={k: v for k, v in os.environ.items() if k not in SERVICE_VARIABLES},
                start_new_session=True,  # the server passes on a Ctrl-C at the terminal
            )
        await self._loop.create_unix_connection(lambda: self, sock=ours)

    async def _reap(self, child: subprocess.Popen[bytes]) -> None:
        """Wait until the child ends; kill it after CHILD_END_SEC."""
        self._child = None
        wait = asyncio.to_thread(child.wait, CHILD_END_SEC)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await wait
            return
        child.kill()
        child.wait()

    def _flush(self) -> None:
        messages, self._outbox = self._outbox, []
        if self._transport is not None and messages:
            for frame in encode_all(messages, lambda _, e: faults.report(e, "a message")):
                self._transport.write(frame)

    # Callbacks of the transport.

    def made(self, transport: asyncio.Transport) -> None:
        """Start with empty buffers, without data of an earlier connection."""
        self._transport = transport
        self._heard = False
        self._reader = FrameReader()
        self._outbox = []
        self._inbox.clear()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read; `buffer_updated` follows at once."""
        return self._chunk

    def buffer_updated(self, nbytes: int) -> None:
        """Handle received messages; close the link if the runner does not follow the protocol."""
        assert self._transport is not None
        self._heard = True
        try:
            messages = self._reader.feed(self._chunk[:nbytes])
        except ValueError as e:
            self._on_lost(f"it speaks another language: {e}")
            self._transport.abort()
            return
        if messages:
            self._inbox += messages
            if len(self._inbox) > MOST_INBOX:
                self._transport.pause_reading()
            if self._hand_on_soon.when is None:
                self._hand_on()

    def _hand_on(self) -> None:
        """Handle received messages, a slice in each iteration of the loop."""
        size = min(len(self._inbox), SLICE)
        if size < len(self._inbox):
            self._hand_on_soon.soon()
        messages = [self._inbox.popleft() for _ in range(size)]
        if not faults.guarded("messages of the runner", partial(self._on_messages, messages)):
            for message in messages:  # an error in one must not affect the others
                faults.guarded("a message of the runner", partial(self._on_messages, [message]))
        if self._transport is not None and len(self._inbox) <= MOST_INBOX:
            self._transport.resume_reading()

    def lost(self) -> None:
        """Report the loss, and connect again."""
        if self._inbox:  # the next Welcome repeats the rest
            self._hand_on()
        self.lost_all_the_same()
        self._on_lost("the connection ended")

    def lost_all_the_same(self) -> None:
        """Connect again."""
        self._transport = None
        self._inbox.clear()
        self._lost.set()


def runner_command() -> list[str]:
    """Return the command that starts a runner of this installation."""
    return [sys.executable, "-P", "-m", "hookd.runner.main"]
