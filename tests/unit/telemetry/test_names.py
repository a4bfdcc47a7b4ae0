"""Names of metrics, keys and events keep their rules."""

import re

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from numaplace.telemetry import events, keys
from numaplace.telemetry.metrics import SCHEDULER, Metric, MetricKind
from scheduler.runtime.metrics import Metrics
from scheduler.state.machine import SchedulerState


@pytest.mark.parametrize("metric", SCHEDULER.values(), ids=SCHEDULER)
def test_a_metric_is_named_by_prometheus_rules(metric: Metric) -> None:
    """Counters end in _total and nothing else does; histograms have rising buckets; labels are bounded."""
    assert re.fullmatch(r"numaplace_[a-z0-9]+(_[a-z0-9]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
    assert bool(metric.buckets) == (metric.kind is MetricKind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert not set(metric.labels) & {"job", "task", "move", "pid", "command"}
    assert metric.help.endswith(".")


def test_all_metrics_can_be_registered_together() -> None:
    """The client library takes every name, and no two collide."""
    registry = CollectorRegistry()
    for metric in SCHEDULER.values():
        if metric.kind is MetricKind.COUNTER:
            Counter(metric.name, metric.help, metric.labels, registry=registry)
        elif metric.kind is MetricKind.GAUGE:
            Gauge(metric.name, metric.help, metric.labels, registry=registry)
        else:
            Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)


def test_what_the_table_names_is_exported() -> None:
    """Nobody looks for a metric that is never there."""
    metrics = Metrics()
    metrics.follow(SchedulerState("run", 0.0), lambda: 0)
    exported = {family.name for family in metrics.registry.collect()}
    assert exported == {name.removesuffix("_total") for name in SCHEDULER}


@pytest.mark.parametrize("module", [keys, events])
def test_names_are_distinct_and_derive_from_their_constants(module: object) -> None:
    """One spelling per thing."""
    named = {name: value for name, value in vars(module).items() if name.isupper()}
    assert len(set(named.values())) == len(named)
    assert all(value.replace(" ", "_").upper() == name for name, value in named.items())
