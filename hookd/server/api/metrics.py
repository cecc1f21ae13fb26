# SPDX-License-Identifier: LGPL-2.1-or-later
"""Metrics for a monitoring system: counted continuously, returned on request.

Names, units and types follow the conventions of Prometheus. The server returns values; hookctl
(`hookd.cli.metrics`) converts them to text, so that the server does not load a library for this.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

import msgspec

from hookd import __version__
from hookd.manager_api import MetricBucket, MetricFamily, MetricSample, MetricType
from hookd.model import Event, HookRun, Phase, RunState

BUCKETS = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)  # seconds of a run's duration


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """The values at the time of the request."""

    running: int
    waiting: int
    open_jobs: int | None
    connections: int
    healthy: bool
    parked: int
    faults: dict[str, int]


class Metrics:
    """The counters since the start."""

    def __init__(self) -> None:
        self._started = 0
        self._ended: Counter[str] = Counter()
        self._runs: Counter[tuple[str, str, str]] = Counter()
        self._cpu: Counter[str] = Counter()
        self._output: Counter[str] = Counter()
        self._durations: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def job(self, event: Event) -> None:
        """Count a job's start or end."""
        if event.phase is Phase.START:
            self._started += 1
        else:
            self._ended[str(event.outcome)] += 1

    def run(self, run: HookRun) -> None:
        """Count a run that has ended."""
        if run.state is not RunState.ENDED:
            return
        self._runs[run.hook, run.phase.value, str(run.result)] += 1
        if run.started_usec is not None:
            seconds = (run.duration_usec or 0) / 1e6
            buckets = self._durations.setdefault(run.hook, [0] * (len(BUCKETS) + 1))
            buckets[bisect_left(BUCKETS, seconds)] += 1
            self._seconds[run.hook] = self._seconds.get(run.hook, 0.0) + seconds
            self._cpu[run.hook] += run.cpu_usec or 0
            self._output[run.hook] += run.output_bytes or 0

    def families(self, gauges: Gauges) -> list[MetricFamily]:
        """Return all metrics; the samples of each are in the order of their labels."""
        return [
            _family(
                "hookd_build", MetricType.INFO, "The program.", [({"version": __version__}, 1)]
            ),
            *_moment(gauges),
            _family(
                "hookd_jobs_started", MetricType.COUNTER, "Jobs started.", [({}, self._started)]
            ),
            _family(
                "hookd_jobs_ended", MetricType.COUNTER, "Jobs ended.",
                [({"outcome": outcome}, n) for outcome, n in sorted(self._ended.items())],
            ),
            _family(
                "hookd_faults", MetricType.COUNTER, "Errors of hookd's own since its start.",
                [({"process": process}, n) for process, n in gauges.faults.items()],
            ),
            _family(
                "hookd_runs", MetricType.COUNTER, "Runs of hooks ended.",
                [
                    ({"hook": hook, "phase": phase, "result": result}, n)
                    for (hook, phase, result), n in sorted(self._runs.items())
                ],
            ),
            self._duration_family(),
            _family(
                "hookd_run_cpu_seconds", MetricType.COUNTER, "CPU time of hooks.",
                [({"hook": hook}, usec / 1e6) for hook, usec in sorted(self._cpu.items())],
                unit="seconds",
            ),
            _family(
                "hookd_run_output_bytes", MetricType.COUNTER, "Output of hooks.",
                [({"hook": hook}, size) for hook, size in sorted(self._output.items())],
                unit="bytes",
            ),
        ]  # fmt: skip

    def _duration_family(self) -> MetricFamily:
        samples = [
            MetricSample(
                labels={"hook": hook}, value=self._seconds[hook], buckets=_cumulative(counts)
            )
            for hook, counts in sorted(self._durations.items())
        ]
        return MetricFamily(
            name="hookd_run_duration_seconds",
            type=MetricType.HISTOGRAM,
            unit="seconds",
            help="How long hooks ran.",
            samples=samples,
        )


def _moment(gauges: Gauges) -> Iterator[MetricFamily]:
    """Yield the values at the time of the request."""
    for name, meaning, value in (
        ("hookd_healthy", "1 while nothing is wrong.", int(gauges.healthy)),
        ("hookd_runs_running", "Runs of hooks that run.", gauges.running),
        ("hookd_runs_waiting", "Runs of hooks that wait.", gauges.waiting),
        ("hookd_jobs_open", "Jobs without an end.", gauges.open_jobs),
        ("hookd_connections", "Open connections.", gauges.connections),
        ("hookd_hooks_parked", "Hooks in quarantine.", gauges.parked),
    ):
        if value is not None:  # an unknown value has no sample
            yield _family(name, MetricType.GAUGE, meaning, [({}, value)])


def _family(
    name: str,
    kind: MetricType,
    meaning: str,
    samples: list[tuple[dict[str, str], float]],
    unit: str | None = None,
) -> MetricFamily:
    return MetricFamily(
        name=name,
        type=kind,
        unit=unit,
        help=meaning,
        samples=[MetricSample(labels=labels, value=float(value)) for labels, value in samples],
    )


def _cumulative(counts: list[int]) -> list[MetricBucket]:
    return [
        MetricBucket(upper_bound=bound, count=total)
        for bound, total in zip((*BUCKETS, None), accumulate(counts), strict=True)
    ]
