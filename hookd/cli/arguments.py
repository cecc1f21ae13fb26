# SPDX-License-Identifier: LGPL-2.1-or-later
"""The options of what a backup job calls, and how they are understood without click.

A backup waits for `hookctl start`, and click takes longer to import than all the rest takes to
run. So a plain call is parsed here; whatever is not plain (help, mistakes) is left to click,
which has its options from the same table.
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
        """How it is written on the command line."""
        return "--" + (self.spelled or self.name).replace("_", "-")


COMMON = (
    Argument("socket", "The daemon's socket.", "PATH"),
    Argument("json", "Print JSON, errors too.", kind="flag"),
)
WHO = (
    Argument("profile", "The job's profile.", "NAME"),
    Argument("user", "The user whose data it is.", "EMAIL"),
    Argument("client_ip", "The client's IP address.", "ADDRESS"),
)
OF_A_START = (
    Argument("client_build_no", "The client's build number.", "N"),
    Argument(
        "attributes",
        "Anything else worth keeping; may be given again.",
        "KEY=VALUE",
        "pair",
        spelled="attribute",
    ),
)
OF_AN_END = (
    Argument("file_count", "Files in all.", kind="number"),
    Argument("byte_count", "Bytes in all.", kind="number"),
    Argument("outcome", "How it went.", kind="choice", choices=tuple(o.value for o in Outcome)),
    Argument("message", "A word on the outcome.", "TEXT"),
)
SERVER_JOB_ID = Argument("server_job_id", "The backup server's own ID of the job.", "ID")
REQUEST_ID = Argument(
    "request_id", "The same ID again is answered as before, and runs nothing twice.", "ID"
)
WAIT = Argument("wait", "Wait until the event's hooks have ended.", kind="flag")

START = (*WHO, *OF_A_START, SERVER_JOB_ID, REQUEST_ID, WAIT)
END = (SERVER_JOB_ID, *WHO, *OF_AN_END, REQUEST_ID, WAIT)

HELP = (["--help"], ["-h"])
_OPTIONS = {"start": START, "end": END, "syncrify": ()}


class Call(msgspec.Struct):
    """A command line that was understood: the options that were given, and the other words."""

    command: str
    settings: Settings
    values: dict[str, Any]
    words: list[str]


def parse(line: list[str]) -> Call | None:
    """Return the plain call that these words make, None where they are for click to judge."""
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
        raise ValueError(f"found {word!r}; allowed: KEY=VALUE")
    return key, value


def _add(values: dict[str, Any], argument: Argument, word: str) -> None:
    """Note an option's value. Raises ValueError where it is none."""
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
