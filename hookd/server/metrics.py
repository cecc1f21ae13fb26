# SPDX-License-Identifier: LGPL-2.1-or-later
"""Figures for a monitoring system: counted all the time, written out when asked.

Names, units and types follow Prometheus's conventions; the text is OpenMetrics. The library that
writes it is loaded at the first question: most servers are never asked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from hookd import __version__, lean
from hookd.model import Event, HookRun, Phase, RunState

if TYPE_CHECKING:
    from prometheus_client.core import Metric

BUCKETS = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)  # seconds of a run's duration


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """What is so at the moment of the question."""

    running: int
    waiting: int
    open_jobs: int
    connections: int
    healthy: bool
    parked: int


class Metrics:
    """Everything that is counted since the start."""

    def __init__(self) -> None:
        self._started = 0
        self._ended: Counter[str] = Counter()
        self._runs: Counter[tuple[str, str, str]] = Counter()
        self._cpu: Counter[str] = Counter()
        self._output: Counter[str] = Counter()
        self._durations: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()

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
            self._seconds[run.hook] += seconds  # type: ignore[assignment]
            self._cpu[run.hook] += run.cpu_usec or 0
            self._output[run.hook] += run.output_bytes or 0

    def text(self, gauges: Gauges) -> str:
        """Return all figures in the OpenMetrics text format."""
        lean.let_in("ssl")  # the library's HTTP server, which nobody starts, imports it
        from prometheus_client.openmetrics.exposition import generate_latest

        written: bytes = generate_latest(_Collected(self._collect(gauges)))  # type: ignore[no-untyped-call]
        return written.decode()

    def _collect(self, gauges: Gauges) -> Iterator[Metric]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        yield InfoMetricFamily("hookd_build", "The program.", {"version": __version__})
        for name, meaning, value in (
            ("hookd_healthy", "1 while nothing is wrong.", int(gauges.healthy)),
            ("hookd_runs_running", "Runs of hooks that run.", gauges.running),
            ("hookd_runs_waiting", "Runs of hooks that wait.", gauges.waiting),
            ("hookd_jobs_open", "Jobs without an end.", gauges.open_jobs),
            ("hookd_connections", "Open connections.", gauges.connections),
            ("hookd_hooks_parked", "Hooks in quarantine.", gauges.parked),
        ):
            yield GaugeMetricFamily(name, meaning, value)
        yield CounterMetricFamily("hookd_jobs_started", "Jobs started.", self._started)
        ended = CounterMetricFamily("hookd_jobs_ended", "Jobs ended.", labels=["outcome"])
        for outcome, count in sorted(self._ended.items()):
            ended.add_metric([outcome], count)
        yield ended
        runs = CounterMetricFamily(
            "hookd_runs", "Runs of hooks ended.", labels=["hook", "phase", "result"]
        )
        for labels, count in sorted(self._runs.items()):
            runs.add_metric(labels, count)
        yield runs
        durations = HistogramMetricFamily(
            "hookd_run_duration_seconds", "How long hooks ran.", labels=["hook"]
        )
        for hook, buckets in sorted(self._durations.items()):
            durations.add_metric([hook], _cumulative(buckets), self._seconds[hook])
        yield durations
        for name, meaning, counts, unit in (
            ("hookd_run_cpu_seconds", "CPU time of hooks.", self._cpu, 1e6),
            ("hookd_run_output_bytes", "Output of hooks.", self._output, 1),
        ):
            family = CounterMetricFamily(name, meaning, labels=["hook"])
            for hook, value in sorted(counts.items()):
                family.add_metric([hook], value / unit)
            yield family


class _Collected:
    """The registry that prometheus-client's writer asks for."""

    def __init__(self, metrics: Iterator[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    total = 0
    found: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), buckets, strict=True):
        total += count
        found.append((bound, total))
    return found
