# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl: the group of commands, and how each ends.

A command's module is imported when the command is used: a backup job should not wait for the
import of tables and progress bars.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

import hookd
from hookd.cli.base import INTERRUPTED, REFUSED, Settings, common_options
from hookd.cli.failure import report

COMMANDS = {
    "start": "submit",
    "end": "submit",
    "syncrify": "syncrify",
    "status": "status",
    "jobs": "jobs",
    "job": "jobs",
    "logs": "logs",
    "watch": "watch",
    "hooks": "status",
    "why": "why",
    "cancel": "control",
    "resume": "control",
    "check": "configuration",
    "reload": "configuration",
    "import-syncrify": "syncrify",
}
"""Each command and the module of this package that has it."""


class Commands(click.Group):
    """The group; knows its commands by name alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of a job's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"hookd.cli.{COMMANDS[cmd_name]}")
        found = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(found, click.Command)
        return found


hookctl = click.version_option(hookd.__version__, prog_name="hookctl")(
    Commands(
        "hookctl",
        params=common_options(),
        no_args_is_help=False,
        help="Tell hookd of backup jobs, and see what its hooks do.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and exit with what the contract says of its end."""
    settings = Settings()
    try:
        code = hookctl.main(arguments, "hookctl", standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough; without this, the flush at exit would complain of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = REFUSED  # as click ends when one of its own writes meets this
    except Exception as error:
        code = report(error, settings.json)
    sys.exit(code)
