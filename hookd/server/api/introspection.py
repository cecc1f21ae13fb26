# SPDX-License-Identifier: LGPL-2.1-or-later
"""`org.varlink.service`: the interface by which every Varlink service describes itself."""

from __future__ import annotations

from hookd import __version__
from hookd.errors import InterfaceNotFound
from hookd.jobs_api import Parameters, Reply
from hookd.server.transport.connection import Connection
from hookd.server.transport.varlink import Call

INTERFACES = ("org.varlink.service", "io.hookd.Jobs", "io.hookd.Manager")


class GetInfo(Parameters, frozen=True, kw_only=True):
    """`org.varlink.service.GetInfo`."""


class GetInfoReply(Reply, frozen=True, kw_only=True):
    """The reply to GetInfo."""

    vendor: str
    product: str
    version: str
    url: str
    interfaces: list[str]


class GetInterfaceDescription(Parameters, frozen=True, kw_only=True):
    """`org.varlink.service.GetInterfaceDescription`."""

    interface: str


class GetInterfaceDescriptionReply(Reply, frozen=True, kw_only=True):
    """The reply to GetInterfaceDescription: the text of the `.varlink` file."""

    description: str


class Introspection:
    """The methods of the interface; each is a coroutine from parameters to a reply."""

    async def get_info(
        self, _connection: Connection, _call: Call, _asked: GetInfo
    ) -> GetInfoReply:
        """Return the name and version of this service, and its interfaces."""
        return GetInfoReply(
            vendor="hookd",
            product="hookd",
            version=__version__,
            url="man:hookd(8)",
            interfaces=list(INTERFACES),
        )

    async def get_interface_description(
        self, _connection: Connection, _call: Call, asked: GetInterfaceDescription
    ) -> GetInterfaceDescriptionReply:
        """Return the text of an interface. Raises InterfaceNotFound."""
        return GetInterfaceDescriptionReply(description=description(asked.interface))


def description(interface: str) -> str:
    """Return the text of an interface's `.varlink` file. Raises InterfaceNotFound for others."""
    if interface not in INTERFACES:
        raise InterfaceNotFound(interface)
    from importlib import resources  # imports tempfile, shutil and three archive modules

    return resources.files("hookd").joinpath("interfaces", f"{interface}.varlink").read_text()
