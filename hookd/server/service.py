# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service manager hears of us: readiness, status, watchdog (sd_notify(3))."""

from __future__ import annotations

import asyncio
import os
import time

import sdnotify


class Service:
    """Talks to the service manager; says nothing where there is none."""

    def __init__(self) -> None:
        self._notifier = sdnotify.SystemdNotifier()
        self._status = ""
        self._watchdog: asyncio.TimerHandle | None = None

    def ready(self, status: str) -> None:
        """Say that the socket is served, or that a reload is over; begin to feed the watchdog."""
        self._status = status
        self._notifier.notify(f"READY=1\nSTATUS={status}")
        if self._watchdog is None:
            self._feed()

    def status(self, status: str) -> None:
        """Show a line for people, in `systemctl status`."""
        if status != self._status:
            self._status = status
            self._notifier.notify(f"STATUS={status}")

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` ends it (Type=notify-reload)."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self, status: str) -> None:
        """Say that the stop has begun."""
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
