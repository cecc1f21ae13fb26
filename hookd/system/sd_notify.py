# SPDX-License-Identifier: LGPL-2.1-or-later
"""Notifies the service manager of readiness, status and watchdog (sd_notify(3)).

A manager that does not read, such as one that is being replaced, must not stop a daemon. A message
that its socket cannot hold is dropped; one that is sent only once, such as readiness, first waits
for a moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from sdnotify import SystemdNotifier

from hookd.system import faults

STATUS_SEC = 0.2  # from a change to the line that shows it: a busy daemon changes constantly
FEEDS = 3  # in each watchdog interval: two of them may be dropped
PATIENCE_SEC = 1.0  # to wait for a manager that does not read, for a message sent once


class Notifier:
    """Sends notifications to the service manager, if there is one.

    `describe` returns the state of the daemon as a line of text, which `systemctl status` shows.
    """

    def __init__(self, describe: Callable[[], str]) -> None:
        self._describe = describe
        self._manager = SystemdNotifier()
        self._shown = ""
        self._show = faults.Timer(self._show_now)
        self._watchdog = faults.Timer(self._feed)
        self._stopping = False

    def ready(self) -> None:
        """Report that a start or a reload is complete; feed the watchdog from now on."""
        self._shown = self._describe()
        self._say(f"READY=1\nSTATUS={self._shown}", PATIENCE_SEC)
        if self._watchdog.when is None:
            self._feed()

    def changed(self) -> None:
        """Send the status line after STATUS_SEC; it includes the last change."""
        if not self._stopping:
            self._show.within(STATUS_SEC)

    def reloading(self) -> None:
        """Report that a reload has begun; `ready` ends it (Type=notify-reload)."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._say(f"RELOADING=1\nMONOTONIC_USEC={now}", PATIENCE_SEC)

    def stopping(self, seconds: float | None = None) -> None:
        """Report that the stop has begun, and its maximum time, even beyond TimeoutStopSec=."""
        self._stopping = True
        self._show.cancel()
        state = f"STOPPING=1\nSTATUS={self._describe()}"
        if seconds is not None:
            state += f"\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"
        self._say(state, PATIENCE_SEC)

    def close(self) -> None:
        """Stop feeding the watchdog."""
        self._watchdog.cancel()

    def _show_now(self) -> None:
        status = self._describe()
        if status != self._shown:
            self._shown = status
            self._say(f"STATUS={status}")

    def _feed(self) -> None:
        """Feed the watchdog from the loop, so that it expires if the loop hangs."""
        given = os.environ.get("WATCHDOG_USEC", "")
        interval = int(given) / 1e6 if given.isascii() and given.isdecimal() else 0
        if interval and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            self._watchdog.within(interval / FEEDS)
            state = ["WATCHDOG=1"]
            # An error in the status line must not end a process that works.
            faults.guarded("the status", lambda: state.append(f"STATUS={self._describe()}"))
            self._say("\n".join(state))

    def _say(self, state: str, patience: float = 0.0) -> None:
        """Send a state with any characters; wait for space for `patience` seconds at most.

        The library does neither. Its socket blocks, so a manager that does not read would stop
        the event loop, and with it the watchdog. It encodes as Latin-1 and silently drops a state
        with any other character, so it is given the Latin-1 text whose bytes are UTF-8.
        """
        if self._manager.socket is not None:
            self._manager.socket.settimeout(patience)
            self._manager.notify(state.encode("utf-8", "replace").decode("latin-1"))
