# SPDX-License-Identifier: LGPL-2.1-or-later
"""The types of `io.hookd.Jobs`: the parameters and the reply of each method.

The server, the client library and hookctl all use these; a test compares them with the `.varlink`
file. The structs that hold parameters have the name of their method. A client library that starts
for every backup job imports this file, so it imports nothing but the model.
"""

from __future__ import annotations

import msgspec

from hookd.model import HookRun, Job, Outcome


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all parameters: a key that is not known is an error."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all replies: keys that are not known are ignored, null may be left out."""


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


class StartJobReply(Reply, frozen=True, kw_only=True):
    """The reply to StartJob. If a gate refused the job, `allowed` is false and `reason` says why.

    `duplicate` is true if the job was started by an earlier call with the same `request_id`.
    """

    job_id: int
    duplicate: bool
    allowed: bool
    reason: str | None = None
    hooks: list[HookRun]


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


class EndJobReply(Reply, frozen=True, kw_only=True):
    """The reply to EndJob."""

    job_id: int
    duplicate: bool
    hooks: list[HookRun]


class GetJob(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Jobs.GetJob`."""

    job_id: int


class GetJobReply(Reply, frozen=True, kw_only=True):
    """The reply to GetJob."""

    job: Job


class ServerStarted(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Jobs.ServerStarted`."""

    instance: str


class ServerStartedReply(Reply, frozen=True, kw_only=True):
    """The reply to ServerStarted: the jobs of earlier instances, which are now lost."""

    lost_jobs: list[int]
