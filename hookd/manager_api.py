# SPDX-License-Identifier: LGPL-2.1-or-later
"""The types of `io.hookd.Manager`: the parameters and the reply of each method.

The server and hookctl both use these; a test compares them with the `.varlink` file. The structs
that hold parameters have the name of their method. Nothing but types enters here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from hookd.jobs_api import Parameters, Reply
from hookd.model import HookRun, Job, JobState, Outcome, Phase

Limits = dict[str, Any]
"""`type Limits`. Its keys are those of `hookd.config.options.LIMITS`, in that order; the key of a
time ends in `_usec`."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the daemon; `healthy` is false while `problems` is not empty."""

    version: str
    pid: int
    started_usec: int
    healthy: bool
    problems: list[str]
    notes: list[str]
    running: int
    waiting: int
    max_running: int
    max_queue: int
    open_jobs: int | None = None
    connections: int
    faults: int
    hooks: int
    parked_hooks: list[str]
    unusable_hooks: dict[str, str]
    runner_connected: bool
    runner_instance: str | None = None
    runner_version: str | None = None
    runner_faults: int
    config_digest: str


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A hook with its state and its last run."""

    name: str
    path: str
    command: str
    kind: str
    phases: list[Phase]
    order: int
    user: str | None = None
    group: str | None = None
    timeout_usec: int
    running: int
    waiting: int
    max_running: int
    failures: int
    parked: bool
    unusable: str | None = None
    next_retry_usec: int | None = None
    last: HookRun | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a hook matches an event of a job, and the rule that decided."""

    hook: str
    phase: Phase
    matched: bool
    rule: str
    reason: str
    limits: Limits


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a job or, if `run` is not None, of a run."""

    seq: int
    usec: int
    job_id: int
    phase: Phase
    profile: str | None = None
    user: str | None = None
    client_ip: str | None = None
    outcome: Outcome | None = None
    run: HookRun | None = None


class OutputLine(msgspec.Struct, frozen=True):
    """A line that a tested hook printed; `stream` is `stdout` or `stderr`."""

    stream: str
    text: str


class TestPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a test would start, and whether the hook matches such a job."""

    argv: list[str]
    environment: dict[str, str]
    user: str | None = None
    group: str | None = None
    working_directory: str
    matched: bool
    rule: str
    reason: str


class MetricType(StrEnum):
    """How the samples of a metric behave; the names are those of OpenMetrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class MetricBucket(msgspec.Struct, frozen=True, kw_only=True):
    """The number of observations up to `upper_bound`; if that is None, of all observations."""

    upper_bound: float | None = None
    count: int


class MetricSample(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a metric. The `value` of a histogram is the sum of its observations."""

    labels: dict[str, str]
    value: float
    buckets: list[MetricBucket] = []


class MetricFamily(msgspec.Struct, frozen=True, kw_only=True):
    """A metric: one name, with a sample for each set of labels.

    `name` has no suffix of the text format, such as `_total`; it ends with the unit, if there is
    one.
    """

    name: str
    type: MetricType
    unit: str | None = None
    help: str
    samples: list[MetricSample]


class GetStatus(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.GetStatus`."""


class GetStatusReply(Reply, frozen=True, kw_only=True):
    """The reply to GetStatus."""

    status: Status


class ListJobs(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.ListJobs`. A filter that is None accepts every job."""

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


class ListJobsReply(Reply, frozen=True, kw_only=True):
    """The reply to ListJobs. `cursor` continues the list; it is None at the end."""

    jobs: list[Job]
    cursor: str | None = None


class ListHooks(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.ListHooks`."""


class ListHooksReply(Reply, frozen=True, kw_only=True):
    """The reply to ListHooks: all hooks, in their start order."""

    hooks: list[Hook]


class Explain(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Explain`."""

    job_id: int


class ExplainReply(Reply, frozen=True, kw_only=True):
    """The reply to Explain: one explanation for each hook and event."""

    hooks: list[Explanation]


class Reload(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Reload`."""


class ReloadReply(Reply, frozen=True, kw_only=True):
    """The reply to Reload: the number of hooks, and notes on the configuration."""

    hooks: int
    notes: list[str]


class Cancel(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Cancel`: exactly one of the two is given."""

    job_id: int | None = None
    run_id: int | None = None


class CancelReply(Reply, frozen=True, kw_only=True):
    """The reply to Cancel: the runs that are being ended."""

    runs: list[int]


class Resume(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Resume`."""

    hook: str


class ResumeReply(Reply, frozen=True, kw_only=True):
    """The reply to Resume."""


class Subscribe(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Subscribe`. `since` is the number of the last notice that is known."""

    since: int | None = None


class SubscribeReply(Reply, frozen=True, kw_only=True):
    """One reply to Subscribe: the notices since the last reply.

    `missed` is true if some notices after `since` are no longer available.
    """

    notices: list[Notice]
    missed: bool


class TestHook(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.TestHook`. What is None gets a value that suits a test."""

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


class TestHookReply(Reply, frozen=True, kw_only=True):
    """One reply to TestHook: the run, lines of its output, or, of a dry run, the plan."""

    run: HookRun | None = None
    output: list[OutputLine] = msgspec.field(default_factory=list)
    plan: TestPlan | None = None


class Replay(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.Replay`."""

    job_id: int


class ReplayReply(Reply, frozen=True, kw_only=True):
    """The reply to Replay: the new runs, which have not started yet."""

    hooks: list[HookRun]


class GetMetrics(Parameters, frozen=True, kw_only=True):
    """`io.hookd.Manager.GetMetrics`."""


class GetMetricsReply(Reply, frozen=True, kw_only=True):
    """The reply to GetMetrics."""

    families: list[MetricFamily]
