# SPDX-License-Identifier: LGPL-2.1-or-later
"""What all commands share: settings, exit codes, messages on standard error.

Every start of hookctl imports this file, so it imports nothing heavy, not even click.
"""

from __future__ import annotations

import re

import msgspec

from hookd.client import Client
from hookd.system import terminal

DONE = 0
REFUSED = 1  # the daemon has refused the call, or a hook has failed
USAGE = 2
NO_DAEMON = 3
GATE_REFUSED = 75  # EX_TEMPFAIL of sysexits.h: a backup program may try again later
INTERRUPTED = 130  # what a shell reports for a program that SIGINT has ended


class Settings(msgspec.Struct):
    """The options that every command takes, before or after its name."""

    socket: str | None = None
    json: bool = False

    def client(self) -> Client:
        """Return a client of the daemon; it connects at its first call."""
        return Client(self.socket)


class Misuse(Exception):
    """The command line is wrong; the help of `command` shows the correct usage."""

    def __init__(self, command: str, message: str) -> None:
        super().__init__(message)
        self.command = command


def number(word: str) -> int:
    """Return a whole number: ASCII digits, with an optional minus. Raises ValueError.

    int() accepts more: `1_000`, and digits of other scripts. Blanks around the number are allowed,
    such as the newline after an ID that was read from a file.
    """
    if re.fullmatch(r"\s*-?[0-9]{1,19}\s*", word, re.ASCII) is None:
        raise ValueError(f"must be a number, not {word!r}")
    return int(word)


def note(text: str) -> None:
    """Write a line for people to standard error."""
    terminal.note("hookctl", text)
