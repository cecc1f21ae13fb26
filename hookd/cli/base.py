# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every command shares: its settings, its exit codes, how it speaks.

Imported by each start of hookctl: nothing heavy enters here, not even click.
"""

from __future__ import annotations

import re

import msgspec

from hookd.client import Client
from hookd.system import terminal

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


def number(word: str) -> int:
    """Return a whole number as people write it: digits, with a minus at most. Raises ValueError.

    int() takes more: `1_000`, digits of other scripts. Blanks around it may stay, such as the end
    of the line that an ID was read from.
    """
    if re.fullmatch(r"\s*-?[0-9]{1,19}\s*", word, re.ASCII) is None:
        raise ValueError(f"found {word!r}; allowed: a number")
    return int(word)


def note(text: str) -> None:
    """Tell people something beside the output: a line on standard error."""
    terminal.note("hookctl", text)
