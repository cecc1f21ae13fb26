# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checks of a configuration for `--check`, without a running runner."""

from __future__ import annotations

import asyncio

from hookd.config.files import Read
from hookd.runner.launch.accounts import AccountCache
from hookd.runner.loading import Loaded, Loader
from hookd.runner.run.program_check import Checker
from hookd.runner.run.resolver import Resolver
from hookd.system import trust
from hookd.system.lookups import Lookups


def inspect(read: Read, fallback: str | None) -> tuple[list[str], list[str]]:
    """Return the errors in the text and those on this machine, and the notes.

    `fallback` is the user of hooks that name none.
    """
    found = asyncio.run(_examine(read, fallback))
    return read.errors + found.errors, found.notes


async def _examine(read: Read, fallback: str | None) -> Loaded:
    lookups = Lookups()
    resolver = Resolver(lookups, Checker(trust.trusted_uids()), AccountCache())
    loader = Loader(None, fallback, resolver)
    try:
        return await loader.examine(read.config, list(read.notes))
    finally:
        lookups.close()
