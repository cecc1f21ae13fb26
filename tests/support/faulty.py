# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookd or hookd-runner as it is, but that one method raises whenever it is about the guilty.

    faulty.py MODULE:CLASS.METHOD server|runner PROGRAM ARGUMENT...

The method raises when one of its arguments names `guilty`: a profile or a hook of that name.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any


def break_method(where: str) -> None:
    """Have this method raise for the guilty."""
    module, _, name = where.partition(":")
    owner = getattr(importlib.import_module(module), name.split(".")[0])
    method = getattr(owner, name.split(".")[1])

    @functools.wraps(method)
    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "'guilty'" in repr(args):
            raise RuntimeError("nobody expects that")
        return method(self, *args, **kwargs)

    setattr(owner, name.split(".")[1], broken)


if __name__ == "__main__":
    program = sys.argv[2]
    break_method(sys.argv[1])
    sys.argv = [f"hookd-{program}", *sys.argv[4:]]
    sys.exit(importlib.import_module(f"hookd.{program}.main").main())
