# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service manager hears of a daemon: readiness, status, watchdog (sd_notify(3)).

A manager that does not read, such as one that is being replaced, must not stop a daemon: what it
has no room for is dropped; what is said only once, such as readiness, waits a moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from sdnotify import SystemdNotifier

from hookd.system import faults

STATUS_SEC = 0.2  # from a change to the line that shows it: a busy daemon changes all the time
FEEDS = 3  # in the watchdog's time: two may be dropped
PATIENCE_SEC = 1.0  # with a manager that does not read, for what is said once


class Notifier:
    """Talks to the service manager; says nothing where there is none.

    `describe` returns how things are, as a line for people: `systemctl status` shows it.
    """

    def __init__(self, describe: Callable[[], str]) -> None:
        self._describe = describe
        self._manager = SystemdNotifier()
        self._shown = ""
        self._show = faults.Timer(self._show_now)
        self._watchdog = faults.Timer(self._feed)
        self._stopping = False

    def ready(self) -> None:
        """Say that a start or a reload is over; feed the watchdog from now on."""
        self._shown = self._describe()
        self._say(f"READY=1\nSTATUS={self._shown}", PATIENCE_SEC)
        if self._watchdog.when is None:
            self._feed()

    def changed(self) -> None:
        """Show how things are in a moment: the last change is in it."""
        if not self._stopping:
            self._show.within(STATUS_SEC)

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` ends it (Type=notify-reload)."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._say(f"RELOADING=1\nMONOTONIC_USEC={now}", PATIENCE_SEC)

    def stopping(self, seconds: float | None = None) -> None:
        """Say that the stop has begun, and how long it may take, beyond TimeoutStopSec= even."""
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
        """Feed the watchdog from the loop itself: one that hangs must starve it."""
        given = os.environ.get("WATCHDOG_USEC", "")
        interval = int(given) / 1e6 if given.isascii() and given.isdecimal() else 0
        if interval and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            self._watchdog.within(interval / FEEDS)
            state = ["WATCHDOG=1"]
            # An error in the line for people is no reason to end a process that is well.
            faults.guarded("the status", lambda: state.append(f"STATUS={self._describe()}"))
            self._say("\n".join(state))

    def _say(self, state: str, patience: float = 0.0) -> None:
        """Send a state, of any characters, and wait no longer than this for room.

        The library needs help with both. Its socket blocks, so a manager that does not read would
        stop the event loop, and with it the watchdog. It encodes as Latin-1 and drops, in silence,
        a state with any other character: so it is given the Latin-1 text whose bytes are UTF-8.
        """
        if self._manager.socket is not None:
            self._manager.socket.settimeout(patience)
            self._manager.notify(state.encode("utf-8", "replace").decode("latin-1"))
