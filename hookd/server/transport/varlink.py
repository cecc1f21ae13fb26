# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bytes to messages and back: Varlink (https://varlink.org), the envelope and every method's form.

Pure. The invariant, whatever the bytes: a `Call`, typed parameters, or one of our errors, never
anything else.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import msgspec

from hookd.errors import (
    HookdError,
    InterfaceNotFound,
    InvalidParameter,
    MethodNotFound,
    ProtocolError,
)
from hookd.model import HookRun, Job, JobState, Outcome, Phase
from hookd.server.transport.json_limits import check_shape

MAX_MESSAGE = 1024 * 1024
"""Bytes of one message without its NUL: three fields of 120,000 and attributes fit many times."""

INTERFACES = ("org.varlink.service", "io.hookd.Jobs", "io.hookd.Manager")


class Call(msgspec.Struct, frozen=True):
    """The envelope of a call. Unknown keys in it are passed over, as the specification says."""

    method: str
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    more: bool | None = None
    oneway: bool | None = None
    upgrade: bool | None = None


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all methods' parameters share: a key that is not known is an error, not a guess."""


class GetInfo(Parameters, frozen=True, kw_only=True):
    """`org.varlink.service.GetInfo`."""


class GetInterfaceDescription(Parameters, frozen=True, kw_only=True):
    """`org.varlink.service.GetInterfaceDescription`."""

    interface: str


class StartJob(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Jobs.StartJob`."""

    profile: str
    user: str
    client_ip: str
    client_build_no: str
    server_job_id: str | None = None
    request_id: str | None = None
    attributes: dict[str, str] | None = None
    wait: bool | None = None
    tie: bool | None = None


class EndJob(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Jobs.EndJob`."""

    job_id: int | None = None
    server_job_id: str | None = None
    file_count: int
    byte_count: int
    outcome: Outcome | None = None
    message: str | None = None
    request_id: str | None = None
    wait: bool | None = None


class GetJob(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Jobs.GetJob`."""

    job_id: int


class ServerStarted(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Jobs.ServerStarted`."""

    instance: str


class GetStatus(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.GetStatus`."""


class ListJobs(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.ListJobs`: newest first; filters that are null do not filter."""

    state: JobState | None = None
    profile: str | None = None
    user: str | None = None
    client_ip: str | None = None
    outcome: Outcome | None = None
    since_usec: int | None = None
    until_usec: int | None = None
    unfinished: bool | None = None
    cursor: str | None = None
    limit: int | None = None


class ListHooks(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.ListHooks`."""


class Reload(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Reload`."""


class Cancel(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Cancel`: all runs of a job, or one run."""

    job_id: int | None = None
    run_id: int | None = None


class Explain(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Explain`."""

    job_id: int


class Resume(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Resume`."""

    hook: str


class Subscribe(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Subscribe`: to be called with `more`."""

    since: int | None = None


class TestHook(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.TestHook`; what is not given gets a value that suits a test."""

    hook: str
    phase: Phase
    profile: str | None = None
    user: str | None = None
    client_ip: str | None = None
    client_build_no: str | None = None
    attributes: dict[str, str] | None = None
    file_count: int | None = None
    byte_count: int | None = None
    outcome: Outcome | None = None
    request_id: str | None = None
    dry_run: bool | None = None


class Replay(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Replay`."""

    job_id: int


class GetMetrics(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.GetMetrics`."""


METHODS: dict[str, type[Parameters]] = {
    "org.varlink.service.GetInfo": GetInfo,
    "org.varlink.service.GetInterfaceDescription": GetInterfaceDescription,
    "io.hookd.Jobs.StartJob": StartJob,
    "io.hookd.Jobs.EndJob": EndJob,
    "io.hookd.Jobs.GetJob": GetJob,
    "io.hookd.Jobs.ServerStarted": ServerStarted,
    "io.hookd.Manager.GetStatus": GetStatus,
    "io.hookd.Manager.ListJobs": ListJobs,
    "io.hookd.Manager.ListHooks": ListHooks,
    "io.hookd.Manager.Reload": Reload,
    "io.hookd.Manager.Cancel": Cancel,
    "io.hookd.Manager.Explain": Explain,
    "io.hookd.Manager.Resume": Resume,
    "io.hookd.Manager.Subscribe": Subscribe,
    "io.hookd.Manager.TestHook": TestHook,
    "io.hookd.Manager.Replay": Replay,
    "io.hookd.Manager.GetMetrics": GetMetrics,
}


TELLS = frozenset(
    (
        "org.varlink.service.GetInfo",
        "org.varlink.service.GetInterfaceDescription",
        "io.hookd.Jobs.GetJob",
        "io.hookd.Manager.GetStatus",
        "io.hookd.Manager.ListJobs",
        "io.hookd.Manager.ListHooks",
        "io.hookd.Manager.Explain",
        "io.hookd.Manager.Subscribe",
        "io.hookd.Manager.GetMetrics",
    )
)
"""What changes nothing, so that nobody is the poorer if it is not done."""


class StartJobReply(msgspec.Struct, kw_only=True):
    """The answer to StartJob."""

    job_id: int
    duplicate: bool
    allowed: bool
    reason: str | None
    hooks: list[HookRun]


class EndJobReply(msgspec.Struct, kw_only=True):
    """The answer to EndJob."""

    job_id: int
    duplicate: bool
    hooks: list[HookRun]


class GetJobReply(msgspec.Struct, kw_only=True):
    """The answer to GetJob."""

    job: Job


class ListJobsReply(msgspec.Struct, kw_only=True):
    """The answer to ListJobs; `cursor` continues the list, None at its end."""

    jobs: list[Job]
    cursor: str | None


class CallReader:
    """A stream of bytes in, whole messages out; never holds more than one too long a message."""

    __slots__ = ("_buffer", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # bytes known to hold no NUL: each is looked at once

    @property
    def unfinished(self) -> bool:
        """Whether the beginning of a message is waiting for its end."""
        return bool(self._buffer)

    @property
    def held(self) -> int:
        """Return the number of bytes that wait here."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray) -> None:
        """Take what arrived."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next whole message without its NUL, None where there is none yet.

        Raises ProtocolError when a message is longer than MAX_MESSAGE.
        """
        end = self._buffer.find(0, self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
        if (end if end >= 0 else len(self._buffer)) > MAX_MESSAGE:
            raise ProtocolError(f"a message is longer than {MAX_MESSAGE} bytes")
        if end < 0:
            return None
        message = bytes(memoryview(self._buffer)[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return message


_call_decoder = msgspec.json.Decoder(Call)
_decoders = {method: msgspec.json.Decoder(form) for method, form in METHODS.items()}
_encoder = msgspec.json.Encoder()


def decode_call(message: bytes) -> Call:
    """Return the call in a message. Raises ProtocolError: the connection is to be closed."""
    try:
        call = _call_decoder.decode(message)
        check_shape(message)
    except (ValueError, RecursionError) as e:
        raise ProtocolError(f"not a Varlink call: {e}") from None
    if call.oneway and call.more:
        raise ProtocolError("not a Varlink call: oneway and more exclude each other")
    return call


def decode_parameters(call: Call) -> Parameters:
    """Return the typed parameters of a call.

    Raises InterfaceNotFound, MethodNotFound or InvalidParameter. That they are JSON, and no deeper
    than allowed, `decode_call` has seen.
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
        raise _invalid(str(e), call.method) from None


_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_WRONG = re.compile(r"(.*) - at `\$\.([A-Za-z0-9_]+)(.*)`", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(.*)`, got `(.*)`")
_ENUM = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_ENUMS: dict[str, type[StrEnum]] = {"outcome": Outcome, "state": JobState, "phase": Phase}
_WORDS = {
    "str": "a string",
    "int": "a whole number",
    "bool": "true or false",
    "object": "an object",
}


def _invalid(message: str, method: str) -> HookdError:
    """Turn msgspec's sentence into ours: which parameter, what was found, what is allowed."""
    if match := _MISSING.fullmatch(message):
        return InvalidParameter(match[1], "found nothing; it must be given")
    if match := _UNKNOWN.fullmatch(message):
        known = " ".join(METHODS[method].__struct_fields__)
        return InvalidParameter(
            brief(match[1]), f"found an unknown parameter; allowed: {known or 'no parameter'}"
        )
    match = _WRONG.fullmatch(message)
    if match is None:
        return InvalidParameter("parameters", f"{message}; allowed: an object")
    what, name, _ = match.groups()
    if expected := _EXPECTED.fullmatch(what):
        allowed = " or ".join(
            _WORDS.get(word, word) for word in expected[1].split(" | ") if word != "null"
        )
        return InvalidParameter(name, f"found {expected[2]}; allowed: {allowed}")
    if enum := _ENUM.fullmatch(what):
        return InvalidParameter(name, f"found {brief(enum[1])}; allowed: {' '.join(_ENUMS[name])}")
    return InvalidParameter(name, f"{what}; allowed: a whole number from 0 to 2^63-1")


def brief(found: str) -> str:
    """Return what was found as an error shows it: not endless."""
    return found if len(found) <= 60 else found[:57] + "..."


def encode_reply(parameters: Any, continues: bool = False) -> bytes:
    """Return one reply as bytes, NUL included. `continues`: more of them follow."""
    reply = (
        {"parameters": parameters, "continues": True} if continues else {"parameters": parameters}
    )
    return _encoder.encode(reply) + b"\0"


def encode_error(error: HookdError) -> bytes:
    """Return one error as bytes, NUL included."""
    return _encoder.encode({"error": error.code, "parameters": error.parameters()}) + b"\0"


def description(interface: str) -> str:
    """Return the text of an interface's `.varlink` file, as shipped.

    Raises InterfaceNotFound for any other.
    """
    if interface not in INTERFACES:
        raise InterfaceNotFound(interface)
    from importlib import resources  # brings tempfile, shutil and three archivers: not at a start

    return resources.files("hookd").joinpath("interfaces", f"{interface}.varlink").read_text()
