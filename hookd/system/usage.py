# SPDX-License-Identifier: LGPL-2.1-or-later
"""The argument parser of the two daemons: it escapes the arguments that it repeats in errors."""

from __future__ import annotations

import argparse
from typing import NoReturn

from hookd.system.terminal import note


class Parser(argparse.ArgumentParser):
    """argparse's parser with its own error output."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the command line, and exit with status 2."""
        note(self.prog, f"{message} ({self.prog} --help)")
        self.exit(2)
