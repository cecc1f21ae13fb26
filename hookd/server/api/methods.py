# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table of all methods: name, parameters, access, handler.

A new method is one row here, its handler, its types and its lines in the `.varlink` file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from hookd import jobs_api, manager_api
from hookd.errors import InterfaceNotFound, MethodNotFound
from hookd.jobs_api import Parameters
from hookd.server.api import introspection
from hookd.server.api.access import Access
from hookd.server.api.introspection import INTERFACES, Introspection
from hookd.server.api.jobs import Jobs
from hookd.server.api.manager import Manager
from hookd.server.api.validation import parameter_error
from hookd.server.transport.connection import Connection, HungUp
from hookd.server.transport.varlink import Call

Handler = Callable[[Any, Connection, Call, Any], Awaitable[Any]]
"""A method of the class that serves the interface: (self, connection, call, parameters) -> reply.

It raises a HookdError to answer with an error."""


class Method(msgspec.Struct, frozen=True):
    """One row. `name` is the full Varlink name."""

    name: str
    parameters: type[Parameters]
    access: Access
    handler: Handler


def _table(interface: str, *rows: tuple[type[Parameters], Access, Handler]) -> dict[str, Method]:
    """Return rows by their names; a method has the name of the struct of its parameters."""
    methods = [Method(f"{interface}.{row[0].__name__}", *row) for row in rows]
    return {method.name: method for method in methods}


METHODS = {
    **_table(
        "org.varlink.service",
        (introspection.GetInfo, Access.TELL, Introspection.get_info),
        (
            introspection.GetInterfaceDescription,
            Access.TELL,
            Introspection.get_interface_description,
        ),
    ),
    **_table(
        "io.hookd.Jobs",
        (jobs_api.StartJob, Access.SUBMIT, Jobs.start_job),
        (jobs_api.EndJob, Access.SUBMIT, Jobs.end_job),
        (jobs_api.GetJob, Access.TELL, Jobs.get_job),
        (jobs_api.ServerStarted, Access.SUBMIT, Jobs.server_started),
    ),
    **_table(
        "io.hookd.Manager",
        (manager_api.GetStatus, Access.TELL, Manager.get_status),
        (manager_api.ListJobs, Access.TELL, Manager.list_jobs),
        (manager_api.ListHooks, Access.TELL, Manager.list_hooks),
        (manager_api.Explain, Access.TELL, Manager.explain),
        (manager_api.Subscribe, Access.TELL, Manager.subscribe),
        (manager_api.GetMetrics, Access.TELL, Manager.get_metrics),
        (manager_api.Reload, Access.MANAGE, Manager.reload),
        (manager_api.Cancel, Access.MANAGE, Manager.cancel),
        (manager_api.Resume, Access.MANAGE, Manager.resume),
        (manager_api.TestHook, Access.MANAGE, Manager.test_hook),
        (manager_api.Replay, Access.MANAGE, Manager.replay),
    ),
}
"""All methods by their full names."""

_decoders = {name: msgspec.json.Decoder(method.parameters) for name, method in METHODS.items()}


def access(name: str) -> Access:
    """Return who may call a method. If there is none of this name, whoever calls learns that."""
    method = METHODS.get(name)
    return method.access if method is not None else Access.TELL


def decode_parameters(call: Call) -> Parameters:
    """Return the typed parameters of a call.

    `decode_call` has checked that they are JSON and not too deep. Raises InterfaceNotFound,
    MethodNotFound or InvalidParameter.
    """
    decoder = _decoders.get(call.method)
    if decoder is None:
        interface, _, _ = call.method.rpartition(".")
        raise (
            MethodNotFound(call.method) if interface in INTERFACES
            else InterfaceNotFound(interface)
        )  # fmt: skip
    raw: Any = call.parameters
    try:
        return decoder.decode(b"{}" if bytes(raw) == b"null" else raw)
    except msgspec.ValidationError as e:
        raise parameter_error(str(e), METHODS[call.method].parameters) from None


class Api:
    """The methods of the table, bound to the objects that serve them."""

    def __init__(self, jobs: Jobs, manager: Manager) -> None:
        serving = dict(zip(INTERFACES, (Introspection(), jobs, manager), strict=True))
        self._handlers = {
            name: partial(method.handler, serving[name.rpartition(".")[0]])
            for name, method in METHODS.items()
        }

    async def answer(self, connection: Connection, call: Call) -> Any:
        """Return the reply to a call that its peer may make.

        Raises a HookdError, or HungUp if the peer has gone and the call would change nothing.
        """
        asked = decode_parameters(call)
        if access(call.method) is Access.TELL and connection.closed.done():
            raise HungUp
        return await self._handlers[call.method](connection, call, asked)
