# SPDX-License-Identifier: LGPL-2.1-or-later
"""`org.varlink.service`: what a client may ask of any Varlink service."""

from __future__ import annotations

from typing import Any

from hookd import __version__
from hookd.server import protocol
from hookd.server.protocol import Call
from hookd.server.session import Session


async def get_info(_session: Session, _call: Call, _asked: protocol.GetInfo) -> Any:
    """Return what this service is."""
    return {
        "vendor": "hookd",
        "product": "hookd",
        "version": __version__,
        "url": "man:hookd(8)",
        "interfaces": list(protocol.INTERFACES),
    }


async def get_description(
    _session: Session, _call: Call, asked: protocol.GetInterfaceDescription
) -> Any:
    """Return an interface's text."""
    return {"description": protocol.description(asked.interface)}
