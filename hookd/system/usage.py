# SPDX-License-Identifier: LGPL-2.1-or-later
"""The argument parser of the two daemons: what it repeats of a command line is escaped."""

from __future__ import annotations

import argparse
from typing import NoReturn

from hookd.system.terminal import note


class Parser(argparse.ArgumentParser):
    """argparse's own, but for how an error is said."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and end with status 2."""
        note(self.prog, f"{message} ({self.prog} --help)")
        self.exit(2)
