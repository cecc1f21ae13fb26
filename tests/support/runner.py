# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real hookd-runner in a directory of its own, with the test in the server's place."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

from hookd.link import (
    Cancel,
    Ended,
    FrameReader,
    Message,
    Reload,
    Reloaded,
    Settled,
    Start,
    Started,
    Welcome,
    encode,
)
from hookd.model import Event, Phase, Receipt
from tests.support.reachable import programs

PYTHON = os.path.realpath(sys.executable)  # what a hook's first line may name: root's own
ANSWER_WITHIN = 30.0  # seconds; far above what anything takes, because all tests share few cores

_M = TypeVar("_M", bound=Message)


def event(**values: Any) -> Event:
    """Return an event like any other, but for these values."""
    usual: dict[str, Any] = {
        "phase": Phase.START,
        "job_id": 7,
        "profile": "nightly",
        "user": "ann@example.com",
        "client_ip": "192.0.2.7",
        "client_build_no": "563",
    }
    return Event(**(usual | values))


class Runner:
    """hookd-runner with its configuration below one directory; a context manager.

    `account`: whom it runs as, where the test may choose; `hook_user` is `--default-user`.
    Records that do not go to a journal are in `log`.
    """

    def __init__(
        self, directory: Path, account: str | None = None, hook_user: str | None = None
    ) -> None:
        self.directory = directory
        self.account = pwd.getpwnam(account) if account else pwd.getpwuid(os.geteuid())
        self.hook_user = hook_user or self.account.pw_name
        self.log = directory / "log"
        self.welcome: Welcome
        self.started: dict[int, int] = {}
        self.ended: dict[int, Receipt] = {}
        self._frames: FrameReader
        self._messages: list[Message] = []
        self._last_id = 0
        (directory / "hooks.d").mkdir()
        (directory / "hookd.toml").touch()
        directory.chmod(0o755)

    def hook(self, name: str, text: str) -> Path:
        """Write a hook file; a running runner knows it after `reload`."""
        path = self.directory / "hooks.d" / f"{name}.toml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    def script(self, name: str, text: str) -> Path:
        """Write a program that hooks may run: sh, unless its first line says otherwise."""
        path = self.directory / name
        path.write_text(text if text.startswith("#!") else "#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    def __enter__(self) -> Runner:
        ours, theirs = socket.socketpair()
        with theirs:
            self.start("--link-fd", str(theirs.fileno()), pass_fds=[theirs.fileno()])
        self.meet(ours)
        return self

    def start(self, *arguments: str, pass_fds: Sequence[int] = ()) -> None:
        """Start the program, as the account that was asked for."""
        switch: dict[str, Any] = {}
        python = sys.executable
        if self.account.pw_uid != os.geteuid():
            switch = {"user": self.account.pw_uid, "group": self.account.pw_gid}
            switch["extra_groups"] = []
            python = str(programs() / "python")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(python, "-m", "hookd.runner.main", *arguments),
                    *("--config", str(self.directory / "hookd.toml")),
                    *("--default-user", self.hook_user),
                ],
                pass_fds=pass_fds,
                stdin=subprocess.DEVNULL,
                stderr=log,
                **switch,
            )

    def meet(self, sock: socket.socket) -> None:
        """Be the server on this connection."""
        self._socket = sock
        self._socket.settimeout(ANSWER_WITHIN)
        self._frames = FrameReader()
        self.welcome = self._answer(Welcome)

    def leave(self) -> None:
        """End the connection, as a server that dies."""
        self._socket.close()

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        try:
            self.process.wait(ANSWER_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the runner did not stop; it said:\n{self.said()}") from None

    def send(self, *messages: Message) -> None:
        """Send messages as the server does."""
        self._socket.sendall(encode(list(messages)))

    def begin(self, hook: str, attempt: int = 1, **values: Any) -> int:
        """Start a run; return its ID."""
        self._last_id += 1
        self.send(Start(self._last_id, hook, attempt, event(**values)))
        return self._last_id

    def until_started(self, run_id: int) -> int:
        """Return when the run started, in microseconds of the real-time clock."""
        self._pump(lambda: run_id in self.started or run_id in self.ended)
        assert run_id in self.started, self.ended[run_id]
        return self.started[run_id]

    def until_ended(self, run_id: int) -> Receipt:
        """Return a run's receipt when it has ended, and let the runner forget it."""
        self._pump(lambda: run_id in self.ended)
        self.send(Settled([run_id]))
        return self.ended[run_id]

    def has_ended(self, run_id: int, within: float) -> bool:
        """Return whether a run has ended, after so many seconds at most."""
        self._socket.settimeout(within)
        try:
            self._pump(lambda: run_id in self.ended)
        except TimeoutError:
            return False
        finally:
            self._socket.settimeout(ANSWER_WITHIN)
        return True

    def until_more_ended(self) -> None:
        """Return when the result of one more run is there."""
        known = len(self.ended)
        self._pump(lambda: len(self.ended) > known)

    def run(self, hook: str, **values: Any) -> Receipt:
        """Start a run and return its receipt."""
        return self.until_ended(self.begin(hook, **values))

    def cancel(self, run_id: int) -> None:
        """Cancel a run."""
        self.send(Cancel(run_id, "the test says so"))

    def reload(self) -> Reloaded:
        """Have the configuration read anew."""
        self.send(Reload())
        return self._answer(Reloaded)

    def define(self, script: str, tables: str = "", name: str = "hook") -> None:
        """Make a hook of an sh script, and have it read."""
        program = self.script(name, script)
        self.hook(name, f'command = "{program}"\n{tables}\n')
        loaded = self.reload()
        assert not loaded.errors, loaded.errors

    def terminate(self) -> None:
        """Ask the runner to stop, as the service manager does."""
        self.process.send_signal(signal.SIGTERM)

    def said(self) -> str:
        """Return what the runner wrote to standard error so far."""
        return self.log.read_text(errors="replace")

    def launchers(self) -> list[psutil.Process]:
        """Return the launchers that are alive: the zygote's children."""
        zygote = psutil.Process(self.process.pid).children()
        found: list[psutil.Process] = []
        for parent in zygote:
            with contextlib.suppress(psutil.NoSuchProcess):  # what was orphaned, and is reaped
                found += parent.children()
        return found

    def _answer(self, kind: type[_M]) -> _M:
        found: list[_M] = []

        def arrived() -> bool:
            found.extend(m for m in self._messages if isinstance(m, kind))
            self._messages.clear()
            return bool(found)

        self._pump(arrived)
        return found[0]

    def _pump(self, done: Callable[[], bool]) -> None:
        """Read what the runner says until this is true."""
        deadline = time.monotonic() + ANSWER_WITHIN
        while not done():
            assert time.monotonic() < deadline, f"no answer; the runner said:\n{self.said()}"
            data = self._socket.recv(1 << 20)
            assert data, f"the runner has gone; it said:\n{self.said()}"
            for message in self._frames.feed(data):
                if isinstance(message, Started):
                    self.started[message.run_id] = message.started_usec
                elif isinstance(message, Ended):
                    assert message.run_id not in self.ended, f"a second result: {message}"
                    self.ended[message.run_id] = message.receipt
                else:
                    self._messages.append(message)
