# SPDX-License-Identifier: LGPL-2.1-or-later
"""All commands. The module of a command is imported when the command is used."""

from __future__ import annotations

import importlib

import click

import hookd
from hookd.cli.command import common_options

COMMANDS = {
    "start": "jobside",
    "end": "jobside",
    "syncrify": "jobside",
    "status": "status",
    "jobs": "jobs",
    "job": "jobs",
    "logs": "logs",
    "watch": "watch",
    "hooks": "status",
    "why": "why",
    "test": "test_hook",
    "replay": "control",
    "cancel": "control",
    "resume": "control",
    "check": "configuration",
    "reload": "configuration",
    "metrics": "metrics",
    "import-syncrify": "importer",
}
"""Each command and its module in this package."""


class Commands(click.Group):
    """The group of all commands, which are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which the help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"hookd.cli.{COMMANDS[cmd_name]}")
        found = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(found, click.Command)
        return found


hookctl = click.version_option(
    hookd.__version__, prog_name="hookctl", message="%(prog)s %(version)s"
)(
    Commands(
        "hookctl",
        params=common_options(),
        no_args_is_help=False,
        help="Report backup jobs to hookd, and inspect and control its hooks.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
)
