# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl metrics: the metrics of the server as text, written by prometheus_client.

Only this file imports that library. It takes seven megabytes and some thirty milliseconds, so the
server returns values, and only this command loads the library.
"""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec
from prometheus_client import generate_latest as in_the_older_format
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as in_openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

from hookd.cli.base import DONE, Settings
from hookd.cli.command import command
from hookd.manager_api import GetMetrics, GetMetricsReply, MetricFamily, MetricType
from hookd.system.terminal import document, print_json

SUFFIXES = {MetricType.COUNTER: "_total", MetricType.INFO: "_info"}
"""The suffix of a metric's name in the text formats, if it is one word; see OpenMetrics."""


@command()
@click.option(
    "--textfile", is_flag=True, help="Use the format of the textfile collector of node_exporter."
)
def metrics(settings: Settings, textfile: bool) -> int:
    """Print all metrics for a monitoring system.

    The format is OpenMetrics, which Prometheus reads, or the older text format with --textfile.
    """
    if settings.json and textfile:
        raise click.UsageError("--json and --textfile exclude each other")
    with settings.client() as hookd:
        asked = GetMetrics()
        found = hookd.call("io.hookd.Manager.GetMetrics", asked, GetMetricsReply, repeat=True)
    if settings.json:
        print_json(msgspec.to_builtins(found))
        return DONE
    registry = CollectorRegistry()
    registry.register(_Told(found.families))
    write = in_the_older_format if textfile else in_openmetrics
    document(write(registry).decode())
    return DONE


class _Told(Collector):
    """The server's metrics, as a collector of prometheus_client."""

    def __init__(self, families: list[MetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._families)


def _metric(family: MetricFamily) -> Metric:
    metric = Metric(family.name, family.help, family.type.value, family.unit or "")
    for sample in family.samples:
        if family.type is not MetricType.HISTOGRAM:
            name = family.name + SUFFIXES.get(family.type, "")
            metric.add_sample(name, sample.labels, sample.value)
            continue
        for bucket in sample.buckets:
            bound = "+Inf" if bucket.upper_bound is None else str(bucket.upper_bound)
            labels = {**sample.labels, "le": bound}
            metric.add_sample(f"{family.name}_bucket", labels, bucket.count)
        metric.add_sample(f"{family.name}_count", sample.labels, sample.buckets[-1].count)
        metric.add_sample(f"{family.name}_sum", sample.labels, sample.value)
    return metric
