# SPDX-License-Identifier: LGPL-2.1-or-later
"""fuzzer.py TARGET [LIBFUZZER-ARGUMENT...]: look for bytes that break a target's invariant.

TARGET is a file beside this one: its `check` is called with bytes that atheris makes, guided by
which lines of hookd (and of Python's TOML and shell parsers) they reach.
"""

from __future__ import annotations

import importlib
import sys

import atheris

INSTRUMENTED = ["hookd", "tests.fuzz", "tomllib", "shlex", "json"]


def main() -> None:
    """Fuzz until libFuzzer's arguments say that it is enough, or something is found."""
    program, target, *arguments = sys.argv
    with atheris.instrument_imports(include=INSTRUMENTED):
        module = importlib.import_module(f"tests.fuzz.{target}")
    atheris.Setup([program, *arguments], module.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
