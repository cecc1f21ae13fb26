# SPDX-License-Identifier: LGPL-2.1-or-later
"""Values that pass between the database and the other parts of the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hookd.link import Start
from hookd.model import INT_MAX, Event, HookRun, Outcome, Receipt
from hookd.server.storage.states import StoredState


class Now(msgspec.Struct, frozen=True):
    """One moment on both clocks: real time for people, boot time to measure durations."""

    usec: int
    boottime_usec: int
    boot_id: str


class NewRun(msgspec.Struct, frozen=True):
    """A run as it is first written: the name of the hook and the overlap key.

    `at_once`: how many runs of the hook, including this one, may run at a time; 0: it has to wait.
    """

    hook: str
    overlap_key: str
    at_once: int = 0


class Slots(msgspec.Struct, frozen=True):
    """A connected runner, and how many runs it may have in all."""

    runner: str
    most: int


class Claim(msgspec.Struct, frozen=True):
    """A run that the scheduler wants to start, and how many slots its hook has."""

    run_id: int
    hook: str
    most: int


class HandedOver(msgspec.Struct, frozen=True):
    """The outcome of claims: the runs to start, and those for which no slot is left.

    A run in neither list was already handed over.
    """

    starts: list[Start] = []
    without_slot: list[int] = []


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The terms under which an event is written, as they were when it was submitted.

    `matched` returns the runs of the hooks that match the event; it is pure, and is called inside
    the transaction. `room`: how many runs may wait in all. Without `slots`, all its runs wait.
    """

    matched: Callable[[Event], Sequence[NewRun]]
    now: Now
    room: int = INT_MAX
    slots: Slots | None = None


class StoredEvent(msgspec.Struct, kw_only=True):
    """An event in the database; `runs` are in their start order.

    `handed` are the runs that were written as handed over to `runner`.
    """

    job: int
    event: Event
    duplicate: bool = False
    allowed: bool = True
    reason: str | None = None
    tie: bool = False
    replay: bool = False
    runs: list[tuple[HookRun, str]] = []
    handed: list[Start] = []
    runner: str | None = None


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What StartJob writes."""

    event: Event
    request_id: str | None
    tie: bool
    uid: int


class EndRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an end of a job writes. `job`, its key, is set if hookd itself ends it as lost."""

    job: int | None = None
    job_id: int | None = None
    server_job_id: str | None = None
    uid: int = -1
    file_count: int = 0
    byte_count: int = 0
    outcome: Outcome
    message: str | None = None
    request_id: str | None = None


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run: its receipt, and possibly another attempt or the refusal of the job."""

    run_id: int
    receipt: Receipt
    retry_due_usec: int | None = None
    refusal: str | None = None


class Finished(msgspec.Struct, frozen=True):
    """The outcome of a Finish; `news` is False if the run had already ended."""

    run_id: int
    news: bool
    retry: HookRun | None


class OpenRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has not ended, as a start finds it.

    `refused`: a start run whose job was refused. `obsolete`: a start run whose job has ended.
    Neither is set for a replay. `overdue`: a gate without which its job was decided. `since`: when
    its job started.
    """

    run: HookRun
    job: int
    job_id: int
    overlap_key: str
    refused: bool
    obsolete: bool
    replay: bool
    test: bool
    stored: StoredState
    runner: str | None
    due_usec: int | None
    overdue: bool
    since: Now


class HookState(msgspec.Struct, frozen=True):
    """The state of a hook: the number of failures in a row, and whether it is parked."""

    name: str
    failures: int
    parked: bool
    digest: str
