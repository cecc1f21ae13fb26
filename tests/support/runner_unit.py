# SPDX-License-Identifier: LGPL-2.1-or-later
"""A hookd-runner in a process of its own beside a `Daemon`, as two units would run them."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.daemon import BIN, READY_WITHIN, STOPPED_WITHIN


class RunnerUnit:
    """hookd-runner for the daemon of the same directory; start that with `arguments`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configuration = directory / "hookd.toml"
        self.socket = directory / "runner.sock"
        self.log = directory / "runner.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix: list[str] = []
        self.environment: dict[str, str] = {}

    @property
    def arguments(self) -> tuple[str, str]:
        """What hookd is started with to use this runner."""
        return ("--runner-socket", str(self.socket))

    def start(self) -> None:
        """Start the runner; return when it says that it is ready."""
        notify = self.directory / "runner-notify"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, self.log.open("ab") as log:
            ready.bind(str(notify))
            ready.settimeout(READY_WITHIN)
            self.process = subprocess.Popen(
                [
                    *self.prefix,
                    str(BIN / "hookd-runner"),
                    *("--config", str(self.configuration)),
                    *("--socket", str(self.socket)),
                    *("--default-user", pwd.getpwuid(os.geteuid()).pw_name),
                ],
                env=os.environ | self.environment | {"NOTIFY_SOCKET": str(notify)},
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
            while b"READY=1" not in ready.recv(4096).split(b"\n"):
                pass

    def stop(self) -> int:
        """Ask the runner to stop; return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOPPED_WITHIN)

    def kill(self) -> None:
        """End the runner as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
