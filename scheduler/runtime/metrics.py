"""The scheduler's metrics, by the table of numaplace.telemetry.metrics, in a registry of their own."""

from collections.abc import Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from numaplace.model.move import MoveOutcome
from numaplace.telemetry import metrics
from numaplace.telemetry.metrics import Metric
from scheduler.state.machine import SchedulerState

M = TypeVar("M", Counter, Gauge)


class Metrics:
    """One object for each metric; gauges of the state are read when somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sessions = self._made(Counter, metrics.SESSIONS)
        self.resyncs = self._made(Counter, metrics.RESYNCS)
        self.decisions = self._made(Counter, metrics.DECISIONS)
        self.home_changes = self._made(Counter, metrics.HOME_CHANGES)
        self.messages_refused = self._made(Counter, metrics.MESSAGES_REFUSED)
        self.calls = self._made(Counter, metrics.CALLS)
        self._moves = self._made(Counter, metrics.MOVES)
        self._moved_bytes = self._made(Counter, metrics.MOVED_BYTES)
        self._left_bytes = self._made(Counter, metrics.LEFT_BYTES)
        self._move_seconds = self._histogram(metrics.MOVE_SECONDS)
        self._stall_seconds_max = self._histogram(metrics.STALL_SECONDS_MAX)
        self._first_page_seconds = self._histogram(metrics.FIRST_PAGE_SECONDS)

    def _made(self, kind: type[M], metric: Metric) -> M:
        return kind(metric.name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, registry=self.registry, buckets=metric.buckets)

    def follow(self, state: SchedulerState, events_waiting: Callable[[], int]) -> None:
        """Read these gauges from the state whenever somebody asks."""
        hosts = self._made(Gauge, metrics.HOSTS)
        connected = hosts.labels(state="connected")
        connected.set_function(lambda: sum(host.connected for host in tuple(state.world.hosts.values())))
        unreachable = hosts.labels(state="unreachable")
        unreachable.set_function(lambda: sum(not host.connected for host in tuple(state.world.hosts.values())))
        self._made(Gauge, metrics.JOBS).set_function(lambda: len(state.world.jobs))
        self._made(Gauge, metrics.TASKS).set_function(lambda: sum(map(len, tuple(state.world.jobs.values()))))
        self._made(Gauge, metrics.MOVES_OPEN).set_function(lambda: len(state.book.open))
        self._made(Gauge, metrics.QUEUE_LENGTH).set_function(events_waiting)

    def move_ended(self, outcome: MoveOutcome) -> None:
        """Count a move and what it did."""
        strategy = outcome.strategy.value if outcome.strategy else "none"
        self._moves.labels(state=outcome.state.value).inc()
        self._moved_bytes.inc(outcome.moved_bytes)
        for reason, size in outcome.left.items():
            self._left_bytes.labels(reason=reason.value).inc(size)
        self._move_seconds.labels(strategy=strategy).observe(outcome.seconds)
        self._stall_seconds_max.labels(strategy=strategy).observe(outcome.stall_ms_max / 1000)
        if outcome.first_page_s is not None:
            self._first_page_seconds.observe(outcome.first_page_s)
