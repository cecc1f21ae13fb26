# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every command shares: its settings, its exit codes, how it speaks.

Imported by each start of hookctl: nothing heavy enters here, not even click.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from hookd.client import Client

DONE = 0
REFUSED = 1  # by the daemon, or a hook that was waited for has failed
USAGE = 2
NO_DAEMON = 3
GATE_REFUSED = 75  # EX_TEMPFAIL of sysexits.h: a backup program may try again later
INTERRUPTED = 130  # what a shell reports of a program that SIGINT has ended


class Settings(msgspec.Struct):
    """The options that stand before or after any command."""

    socket: str | None = None
    json: bool = False

    def client(self) -> Client:
        """Return a client of the daemon that is meant; it connects at its first call."""
        return Client(self.socket)


class Misuse(Exception):
    """The command line cannot be meant; `command` is whose help says what can."""

    def __init__(self, command: str, message: str) -> None:
        super().__init__(message)
        self.command = command


def print_json(value: Any, file: Any = None) -> None:
    """Print a value as one JSON document: a line, or indented for people on a terminal."""
    file = file or sys.stdout
    text = msgspec.json.encode(value)
    if file.isatty():
        text = msgspec.json.format(text, indent=2)
    print(text.decode(), file=file, flush=True)


def note(text: str) -> None:
    """Tell people something beside the output: a line on standard error."""
    print(f"hookctl: {text}", file=sys.stderr)
