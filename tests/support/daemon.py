# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real hookd in a directory of its own, for tests to talk to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from hookd.client import Client

BIN = Path(sys.executable).parent
READY_WITHIN = 20.0  # seconds; far above what it takes, because all tests share few cores
STOPPED_WITHIN = 30.0  # seconds


class Daemon:
    """hookd with its configuration, socket and state below one directory.

    The directory's path must be short (a socket's is at most 107 bytes: unix(7)). Records that
    do not go to a journal are in `log`. `prefix` is a command that becomes hookd (exec), with
    the descriptors `inherited`; `programs` is the directory that hookd is taken from.
    """

    def __init__(self, directory: Path, settings: str = "") -> None:
        self.directory = directory
        self.socket = directory / "hookd.sock"
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix: list[str] = []
        self.inherited: list[int] = []
        self.programs = BIN
        (directory / "hooks.d").mkdir()
        (directory / "hookd.toml").write_text(settings)

    def hook(self, name: str, text: str) -> Path:
        """Write a hook file; a running daemon knows it after a reload."""
        path = self.directory / "hooks.d" / f"{name}.toml"
        path.write_text(text)
        return path

    def script(self, name: str, text: str) -> Path:
        """Write an sh script that hooks may run; return its path."""
        path = self.directory / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    def start(self, *arguments: str) -> None:
        """Start hookd; return when it says that it is ready, as sd_notify(3) has it."""
        notify = self.directory / "notify"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, self.log.open("ab") as log:
            ready.bind(str(notify))
            notify.chmod(0o777)  # `prefix` may have changed the user
            ready.settimeout(READY_WITHIN)
            self.process = subprocess.Popen(
                [
                    *self.prefix,
                    str(self.programs / "hookd"),
                    *("--config", str(self.directory / "hookd.toml")),
                    *("--socket", str(self.socket)),
                    *("--state-dir", str(self.directory / "state")),
                    *arguments,
                ],
                env=os.environ | {"NOTIFY_SOCKET": str(notify)},
                stdin=subprocess.DEVNULL,
                stderr=log,
                pass_fds=self.inherited,
            )
            try:
                while b"READY=1" not in ready.recv(4096).split(b"\n"):
                    pass
            except TimeoutError:
                self.kill()
                raise AssertionError(f"not ready in time; it said:\n{self.said()}") from None

    def stop(self) -> int:
        """Ask hookd to stop; return its exit status, negative for a signal."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop in time; it said:\n{self.said()}") from None

    def kill(self) -> None:
        """End hookd as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        """Return what hookd wrote to standard error so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def client(self, timeout: float | None = 30.0) -> Client:
        """Return a client of this daemon."""
        return Client(self.socket, timeout=timeout)
