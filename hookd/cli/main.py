# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl: parses the command line, runs the command, and sets the exit status."""

from __future__ import annotations

import sys

from hookd.cli.arguments import parse
from hookd.cli.base import INTERRUPTED, Settings
from hookd.cli.submit import submit
from hookd.system import terminal


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and exit with the documented exit status."""
    terminal.guard()
    code = _run(sys.argv[1:] if arguments is None else arguments)
    terminal.finish("hookctl")
    sys.exit(code)


def _run(words: list[str]) -> int:
    call = parse(words)
    settings = call.settings if call else Settings()
    try:
        return submit(call) if call else _by_click(words, settings)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from hookd.cli.failure import report

        return report(error, settings.json)


def _by_click(words: list[str], settings: Settings) -> int:
    from hookd.cli.commands import hookctl

    code: int = hookctl.main(words, "hookctl", standalone_mode=False, obj=settings)
    return code
