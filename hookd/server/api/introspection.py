# SPDX-License-Identifier: LGPL-2.1-or-later
"""`org.varlink.service`: what a client may ask of any Varlink service."""

from __future__ import annotations

from typing import Any

from hookd import __version__
from hookd.server.transport import varlink
from hookd.server.transport.connection import Connection
from hookd.server.transport.varlink import Call


async def get_info(_connection: Connection, _call: Call, _asked: varlink.GetInfo) -> Any:
    """Return what this service is."""
    return {
        "vendor": "hookd",
        "product": "hookd",
        "version": __version__,
        "url": "man:hookd(8)",
        "interfaces": list(varlink.INTERFACES),
    }


async def get_description(
    _connection: Connection, _call: Call, asked: varlink.GetInterfaceDescription
) -> Any:
    """Return an interface's text."""
    return {"description": varlink.description(asked.interface)}
