# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rules for every parameter: what a value must be, and the error that says so.

Pure. A parameter that breaks a rule raises InvalidParameter, which names the parameter, what was
found and what is allowed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import get_args, get_type_hints

from hookd.errors import InvalidParameter
from hookd.jobs_api import EndJob, Parameters, StartJob
from hookd.manager_api import Cancel, ListJobs
from hookd.model import INT_MAX, Event, Outcome, Phase

MAX_STRING = 120_000
"""Bytes of any string. With its name it stays below the kernel's limit for one argument."""

MAX_BUILD_NO = 64  # bytes
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_BYTES = 262_144  # of all names and values of a job together
MAX_PAGE = 1000  # jobs of one ListJobs page
DEFAULT_PAGE = 100
MAX_ADDRESS = 45 + 1 + 64  # characters: the longest address, "%", and a zone

_ZONE = re.compile(r"[A-Za-z0-9._:~-]{1,64}", re.ASCII)  # an interface's name or number, RFC 4007


def start_event(call: StartJob) -> Event:
    """Return the event that a StartJob reports; its job ID is still 0.

    Raises InvalidParameter for a value that is not allowed.
    """
    _filled("profile", call.profile)
    _string("user", call.user)
    _address("client_ip", call.client_ip)
    _string("client_build_no", call.client_build_no, MAX_BUILD_NO)
    _id("server_job_id", call.server_job_id)
    _id("request_id", call.request_id)
    return Event(
        phase=Phase.START,
        job_id=0,
        profile=call.profile,
        user=call.user,
        client_ip=call.client_ip,
        client_build_no=call.client_build_no,
        server_job_id=call.server_job_id,
        attributes=_attributes(call.attributes or {}),
    )


def check_end(call: EndJob) -> Outcome:
    """Return the outcome that an EndJob reports, or `unknown` if it reports none.

    Raises InvalidParameter for a value that is not allowed.
    """
    if call.job_id is None and call.server_job_id is None:
        raise InvalidParameter("job_id", "must be given if server_job_id is not")
    if call.job_id is not None:
        check_job_id(call.job_id)
    _id("server_job_id", call.server_job_id)
    check_counts(call.file_count, call.byte_count)
    _id("request_id", call.request_id)
    if call.message is not None:
        _string("message", call.message)
    return call.outcome or Outcome.UNKNOWN


def check_counts(file_count: int, byte_count: int) -> None:
    """Raise InvalidParameter unless these can be the counts of a job."""
    _count("file_count", file_count)
    _count("byte_count", byte_count)


def check_job_id(job_id: int) -> None:
    """Raise InvalidParameter unless this can be the ID of a job."""
    _count("job_id", job_id, 1)


def check_instance(instance: str) -> None:
    """Raise InvalidParameter unless this can name an instance of a backup server."""
    _filled("instance", instance)


def check_page(call: ListJobs) -> tuple[int | None, int]:
    """Return the key of the job after which a page begins, and the number of jobs on it.

    Raises InvalidParameter for a cursor or limit that is not allowed.
    """
    limit = DEFAULT_PAGE if call.limit is None else call.limit
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidParameter("limit", f"must be from 1 to {MAX_PAGE}, not {limit}")
    for name in ("since_usec", "until_usec"):
        moment = getattr(call, name)
        if moment is not None:
            _count(name, moment)
    if call.cursor is None:
        return None, limit
    if not re.fullmatch("[0-9]{1,18}", call.cursor, re.ASCII):
        raise InvalidParameter(
            "cursor", f"must be a cursor that ListJobs has returned, not {brief(call.cursor)!r}"
        )
    return int(call.cursor), limit


def check_cancel(call: Cancel) -> None:
    """Raise InvalidParameter unless exactly one of job_id and run_id is given."""
    if (call.job_id is None) == (call.run_id is None):
        raise InvalidParameter("job_id", "exactly one of job_id and run_id must be given")
    for name in ("job_id", "run_id"):
        if getattr(call, name) is not None:
            _count(name, getattr(call, name), 1)


def _string(name: str, value: str, most: int = MAX_STRING) -> None:
    if "\0" in value:
        raise InvalidParameter(name, "must not contain a NUL character")
    # A character has at most four bytes, so only long strings need to be encoded.
    if len(value) * 4 > most and (length := len(value.encode())) > most:
        raise InvalidParameter(name, f"must have at most {most} bytes, not {length}")


def _filled(name: str, value: str) -> None:
    _string(name, value)
    if not value:
        raise InvalidParameter(name, "must not be empty")


def _id(name: str, value: str | None) -> None:
    if value is not None:
        _string(name, value)
        if not value:
            raise InvalidParameter(name, "must not be empty; it may be null")


def _count(name: str, value: int, least: int = 0) -> None:
    if not least <= value <= INT_MAX:
        raise InvalidParameter(name, f"must be from {least} to 2^63-1, not {value}")


def _address(name: str, value: str) -> None:
    _filled(name, value)
    if len(value) > MAX_ADDRESS or not _is_address(value):
        raise InvalidParameter(
            name, f"must be an IPv4 or IPv6 address, with or without a zone, not {brief(value)!r}"
        )


@lru_cache(1024)  # the same clients call every night
def _is_address(value: str) -> bool:
    address, percent, zone = value.partition("%")
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return False
    return not percent or (version == 6 and _ZONE.fullmatch(zone) is not None)


def _attributes(attributes: dict[str, str]) -> dict[str, str]:
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidParameter(
            "attributes", f"must be at most {MAX_ATTRIBUTES}, not {len(attributes)}"
        )
    total = 0
    for key, value in attributes.items():
        if not key:
            raise InvalidParameter("attributes", "must not have an empty name")
        _string("attributes", key)
        _string("attributes", value)
        total += len(key.encode()) + len(value.encode())
    if total > MAX_ATTRIBUTE_BYTES:
        raise InvalidParameter(
            "attributes",
            f"must have at most {MAX_ATTRIBUTE_BYTES} bytes together, not {total}",
        )
    return attributes


_MISSING = re.compile(r"Object missing required field `(.*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_WRONG = re.compile(r"(.*) - at `\$\.([A-Za-z0-9_]+)(.*)`", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(.*)`, got `(.*)`")
_ENUM = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_WORDS = {
    "array": "an array",
    "bool": "a boolean",
    "float": "a fraction",
    "int": "a whole number",
    "object": "an object",
    "str": "a string",
}
"""The types of JSON as msgspec names them, in words."""


def parameter_error(message: str, parameters: type[Parameters]) -> InvalidParameter:
    """Return the error for parameters that do not have the types of this struct.

    `message` is that of msgspec's ValidationError, the only place where it tells what is wrong.
    """
    if match := _MISSING.fullmatch(message):
        return InvalidParameter(match[1], "must be given")
    if match := _UNKNOWN.fullmatch(message):
        known = _listed(parameters.__struct_fields__, "and") or "no parameters"
        return InvalidParameter(brief(match[1]), f"is unknown; the method takes {known}")
    match = _WRONG.fullmatch(message)
    what, name = match.groups()[:2] if match is not None else (message, "parameters")
    if expected := _EXPECTED.fullmatch(what):
        allowed = [_WORDS.get(word, word) for word in expected[1].split(" | ") if word != "null"]
        found = _WORDS.get(expected[2], expected[2])
        return InvalidParameter(name, f"must be {_listed(allowed, 'or')}, not {found}")
    if enum := _ENUM.fullmatch(what):
        values = _listed(_enum_values(parameters, name), "or")
        return InvalidParameter(name, f"must be {values}, not {brief(enum[1])}")
    return InvalidParameter(name, "must be a whole number from 0 to 2^63-1; it is out of range")


def _enum_values(parameters: type[Parameters], name: str) -> list[str]:
    hint = get_type_hints(parameters)[name]
    kinds = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)]
    return [str(value) for kind in kinds if issubclass(kind, StrEnum) for value in kind]


def _listed(words: Sequence[str], last: str) -> str:
    *others, end = words or [""]
    return f"{', '.join(others)} {last} {end}" if others else end


def brief(found: str) -> str:
    """Return what was found, cut to a length that an error can show."""
    return found if len(found) <= 60 else found[:57] + "..."
