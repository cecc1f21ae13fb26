# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl: from the words of a command line to a command, and how each ends."""

from __future__ import annotations

import os
import sys

from hookd.cli.arguments import parse
from hookd.cli.base import INTERRUPTED, REFUSED, Settings
from hookd.cli.submit import submit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and exit with what the contract says of its end."""
    words = sys.argv[1:] if arguments is None else arguments
    call = parse(words)
    settings = call.settings if call else Settings()
    try:
        code = submit(call) if call else _by_click(words, settings)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough; without this, the flush at exit would complain of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = REFUSED  # as click ends when one of its own writes meets this
    except Exception as error:
        from hookd.cli.failure import report

        code = report(error, settings.json)
    sys.exit(code)


def _by_click(words: list[str], settings: Settings) -> int:
    from hookd.cli.commands import hookctl

    code: int = hookctl.main(words, "hookctl", standalone_mode=False, obj=settings)
    return code
