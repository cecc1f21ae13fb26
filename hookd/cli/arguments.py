# SPDX-License-Identifier: LGPL-2.1-or-later
"""The options of the commands that a backup job calls, and a parser for them without click.

A backup waits for `hookctl start`, and importing click takes longer than everything else together.
Plain calls are therefore parsed here. Click handles the others (help, errors), with the options of
the same table.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from hookd.cli.base import Settings, number
from hookd.model import Outcome


class Argument(msgspec.Struct, frozen=True):
    """One option. `kind`: text, number, choice, flag, or pair (KEY=VALUE, any number of them)."""

    name: str
    help: str
    metavar: str | None = None
    kind: str = "text"
    choices: tuple[str, ...] = ()
    spelled: str | None = None

    @property
    def flag(self) -> str:
        """The option as written on the command line."""
        return "--" + (self.spelled or self.name).replace("_", "-")


COMMON = (
    Argument("socket", "Path of the daemon's socket.", "PATH"),
    Argument("json", "Print JSON, also for errors.", kind="flag"),
)
WHO = (
    Argument("profile", "Name of the backup profile.", "NAME"),
    Argument("user", "Owner of the data.", "EMAIL"),
    Argument("client_ip", "IP address of the client.", "ADDRESS"),
)
OF_A_START = (
    Argument("client_build_no", "Build number of the client.", "N"),
    Argument(
        "attributes",
        "Any other fact about the job. Can be repeated.",
        "KEY=VALUE",
        "pair",
        spelled="attribute",
    ),
)
OF_AN_END = (
    Argument("file_count", "Total number of files.", kind="number"),
    Argument("byte_count", "Total number of bytes.", kind="number"),
    Argument(
        "outcome", "How the backup ended.", kind="choice", choices=tuple(o.value for o in Outcome)
    ),
    Argument("message", "Text that explains the outcome.", "TEXT"),
)
SERVER_JOB_ID = Argument("server_job_id", "ID of the job in the backup server.", "ID")
REQUEST_ID = Argument(
    "request_id",
    "ID of this request. A repeated ID gets the same answer and runs nothing again.",
    "ID",
)
WAIT = Argument("wait", "Wait until the hooks of the event have ended.", kind="flag")

START = (*WHO, *OF_A_START, SERVER_JOB_ID, REQUEST_ID, WAIT)
END = (SERVER_JOB_ID, *WHO, *OF_AN_END, REQUEST_ID, WAIT)

HELP = (["--help"], ["-h"])
_OPTIONS = {"start": START, "end": END, "syncrify": ()}


class Call(msgspec.Struct):
    """A parsed command line: the given options, and the other words."""

    command: str
    settings: Settings
    values: dict[str, Any]
    words: list[str]


def parse(line: list[str]) -> Call | None:
    """Return the plain call in these words; None if click has to handle them."""
    words = deque(line)
    known = {argument.flag: argument for argument in COMMON}
    values: dict[str, Any] = {}
    others: list[str] = []
    command = None
    while words and command != "syncrify":
        word = words.popleft()
        flag, equals, value = word.partition("=")
        if argument := known.get(flag):
            if argument.kind != "flag" and not equals:
                if not words:
                    return None
                value = words.popleft()
            elif argument.kind == "flag" and equals:
                return None
            try:
                _add(values, argument, value)
            except ValueError:
                return None
        elif word.startswith("-"):
            return None
        elif command is None:
            if word not in _OPTIONS:
                return None
            command = word
            known |= {argument.flag: argument for argument in _OPTIONS[word]}
        else:
            others.append(word)
    others += words
    if command is None or others in HELP:
        return None
    settings = Settings(values.pop("socket", None), values.pop("json", False))
    return Call(command, settings, values, others)


def pair(word: str) -> tuple[str, str]:
    """Return the two sides of KEY=VALUE. Raises ValueError."""
    key, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"must be KEY=VALUE, not {word!r}")
    return key, value


def _add(values: dict[str, Any], argument: Argument, word: str) -> None:
    """Add the value of an option. Raises ValueError if it is not allowed."""
    match argument.kind:
        case "flag":
            values[argument.name] = True
        case "number":
            values[argument.name] = number(word)
        case "pair":
            key, value = pair(word)
            values.setdefault(argument.name, {})[key] = value
        case "choice" if word not in argument.choices:
            raise ValueError(word)
        case _:
            values[argument.name] = word
