# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every command shares: its options, its connection, its exit codes, its JSON.

Imported by each start of hookctl: nothing heavy enters here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click
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


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value and option.name:
        setattr(context.find_object(Settings), option.name, value)


def common_options() -> list[click.Parameter]:
    """Return `--socket` and `--json`, which the group and each command take."""
    return [
        click.Option(
            ["--socket"],
            metavar="PATH",
            expose_value=False,
            callback=_remember,
            help="The daemon's socket.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Print JSON, errors too.",
        ),
    ]


class Command(click.Command):
    """A command that takes the common options as well, so that they may stand behind it."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.params += common_options()


def command(
    name: str | None = None, **values: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function that takes Settings first and returns an exit code."""

    def make(function: Callable[..., Any]) -> click.Command:
        return click.command(name, cls=Command, **values)(click.pass_obj(function))

    return make


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
