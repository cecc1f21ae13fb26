# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may ask, and what may be asked: authorisation and the rules for every field.

Pure: a peer is numbers, the names of `[access]` have become numbers before they come here.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

import msgspec

from hookd.errors import InvalidParameter, PermissionDenied
from hookd.model import INT_MAX, Event, Outcome, Phase
from hookd.server.transport.peer import Peer
from hookd.server.transport.varlink import TELLS, Cancel, EndJob, ListJobs, StartJob, brief

MAX_STRING = 120_000
"""Bytes of any string: with its name it stays below the kernel's limit for one argument."""

MAX_BUILD_NO = 64  # bytes
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_BYTES = 262_144  # all names and values of a job together
MAX_PAGE = 1000  # jobs of one ListJobs page
DEFAULT_PAGE = 100
MAX_ADDRESS = 45 + 1 + 64  # characters: of the longest address in text, "%", and a zone

_ZONE = re.compile(r"[A-Za-z0-9._:~-]{1,64}", re.ASCII)  # an interface's name or number, RFC 4007


class Principals(msgspec.Struct, frozen=True):
    """A list of `[access]` as numbers."""

    uids: frozenset[int]
    gids: frozenset[int]

    def include(self, peer: Peer) -> bool:
        """Return whether the peer is one of these users or in one of these groups."""
        return peer.uid in self.uids or not self.gids.isdisjoint(peer.groups)


class AccessPolicy(msgspec.Struct, frozen=True):
    """Decides who may call what. The daemon's own user may do everything."""

    own_uid: int
    submit: Principals
    manage: Principals

    def knows(self, peer: Peer) -> bool:
        """Return whether the peer may call anything at all."""
        return peer.uid == self.own_uid or self.submit.include(peer) or self.manage.include(peer)

    def admit(self, peer: Peer, method: str) -> None:
        """Raise PermissionDenied unless the peer may call this method.

        Submitters may use io.hookd.Jobs, managers the changing methods of io.hookd.Manager, and
        either those that only tell.
        """
        if peer.uid == self.own_uid or (self.manage.include(peer) and method in _MANAGE):
            return
        submits = self.submit.include(peer)
        if method in _MANAGE or not (submits or (method in TELLS and self.manage.include(peer))):
            raise PermissionDenied


_MANAGE = frozenset(
    "io.hookd.Manager." + name for name in ("Reload", "Cancel", "TestHook", "Replay", "Resume")
)


def start_event(call: StartJob) -> Event:
    """Return the event that a StartJob makes, its job ID still 0.

    Raises InvalidParameter, naming the field, for a value that is not allowed.
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
    """Return the outcome an EndJob states, `unknown` where it states none.

    Raises InvalidParameter, naming the field, for a value that is not allowed.
    """
    if call.job_id is None and call.server_job_id is None:
        raise InvalidParameter(
            "job_id", "found neither job_id nor server_job_id; one must be given"
        )
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
    """Return where a page of jobs goes on (a job's key) and how many jobs it has.

    Raises InvalidParameter for a cursor or limit that is not allowed.
    """
    limit = DEFAULT_PAGE if call.limit is None else call.limit
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidParameter("limit", f"found {limit}; allowed: 1 to {MAX_PAGE}")
    for name in ("since_usec", "until_usec"):
        moment = getattr(call, name)
        if moment is not None:
            _count(name, moment)
    if call.cursor is None:
        return None, limit
    if not re.fullmatch("[0-9]{1,18}", call.cursor, re.ASCII):
        raise InvalidParameter(
            "cursor", f"found {brief(call.cursor)!r}; allowed: what ListJobs returned"
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
        raise InvalidParameter(name, "found a NUL character; allowed: text without NUL")
    # A character is at most four bytes: only what may be too long is counted.
    if len(value) * 4 > most and (length := len(value.encode())) > most:
        raise InvalidParameter(name, f"found {length} bytes; allowed: at most {most}")


def _filled(name: str, value: str) -> None:
    _string(name, value)
    if not value:
        raise InvalidParameter(name, "found an empty string; it must not be empty")


def _id(name: str, value: str | None) -> None:
    if value is not None:
        _string(name, value)
        if not value:
            raise InvalidParameter(name, "found an empty string; allowed: null, or not empty")


def _count(name: str, value: int, least: int = 0) -> None:
    if not least <= value <= INT_MAX:
        raise InvalidParameter(name, f"found {value}; allowed: {least} to 2^63-1")


def _address(name: str, value: str) -> None:
    _filled(name, value)
    if len(value) > MAX_ADDRESS or not _is_address(value):
        raise InvalidParameter(
            name, f"found {brief(value)!r}; allowed: an IPv4 or IPv6 address, with or without zone"
        )


@lru_cache(1024)  # a backup server has the same clients every night
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
            "attributes", f"found {len(attributes)} of them; allowed: at most {MAX_ATTRIBUTES}"
        )
    total = 0
    for key, value in attributes.items():
        if not key:
            raise InvalidParameter("attributes", "found an empty name; it must not be empty")
        _string("attributes", key)
        _string("attributes", value)
        total += len(key.encode()) + len(value.encode())
    if total > MAX_ATTRIBUTE_BYTES:
        raise InvalidParameter(
            "attributes",
            f"found {total} bytes together; allowed: at most {MAX_ATTRIBUTE_BYTES}",
        )
    return attributes
