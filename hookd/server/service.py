# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service manager hears of us: readiness, status, watchdog (sd_notify(3))."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

import sdnotify

STATUS_SEC = 0.2  # from a change to the line that shows it: a busy server changes all the time


class Service:
    """Talks to the service manager; says nothing where there is none.

    `describe` returns how things are, as a line for people.
    """

    def __init__(self, describe: Callable[[], str]) -> None:
        self._describe = describe
        self._notifier = sdnotify.SystemdNotifier()
        self._shown = ""
        self._show: asyncio.TimerHandle | None = None
        self._stopping = False
        self._watchdog: asyncio.TimerHandle | None = None

    def ready(self) -> None:
        """Say that the socket is served, or that a reload is over; begin to feed the watchdog."""
        self._shown = self._describe()
        self._notifier.notify(f"READY=1\nSTATUS={self._shown}")
        if self._watchdog is None:
            self._feed()

    def changed(self) -> None:
        """Show how things are, in `systemctl status`, in a moment: the last change is in it."""
        if self._show is None and not self._stopping:
            self._show = asyncio.get_running_loop().call_later(STATUS_SEC, self._show_now)

    def _show_now(self) -> None:
        self._show = None
        status = self._describe()
        if status != self._shown:
            self._shown = status
            self._notifier.notify(f"STATUS={status}")

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` ends it (Type=notify-reload)."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self, status: str) -> None:
        """Say that the stop has begun: from now on, no change is of interest."""
        self._stopping = True
        if self._show is not None:
            self._show.cancel()
        self._notifier.notify(f"STOPPING=1\nSTATUS={status}")

    def close(self) -> None:
        """Stop feeding the watchdog."""
        if self._watchdog is not None:
            self._watchdog.cancel()

    def _feed(self) -> None:
        """Feed the watchdog from the loop itself, so that a loop that hangs starves it."""
        interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        if interval and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            self._notifier.notify("WATCHDOG=1")
            loop = asyncio.get_running_loop()
            self._watchdog = loop.call_later(interval / 2, self._feed)
