"""Names, labels and meanings of all metrics: one table, which the exporter registers.

Names follow Prometheus' rules: base units, ``_total`` on counters, no label of unbounded values (never a job or task).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class MetricKind(Enum):
    """How a metric behaves over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``buckets`` are a histogram's upper bounds, in the unit of its name."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
STALL_SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

MOVES = Metric("numaplace_moves_total", MetricKind.COUNTER, "Moves that ended, by how they ended.", ("state",))
MOVES_OPEN = Metric("numaplace_moves_open", MetricKind.GAUGE, "Moves accepted and not ended.")
MOVED_BYTES = Metric("numaplace_moved_bytes_total", MetricKind.COUNTER, "Bytes that moves brought home.")
LEFT_BYTES = Metric(
    "numaplace_left_bytes_total", MetricKind.COUNTER, "Bytes that moves left behind, by reason.", ("reason",)
)
MOVE_SECONDS = Metric(
    "numaplace_move_seconds", MetricKind.HISTOGRAM, "How long moves took.", ("strategy",), SECONDS_BUCKETS
)
STALL_SECONDS_MAX = Metric(
    "numaplace_move_stall_seconds_max",
    MetricKind.HISTOGRAM,
    "The longest wait that a job can have felt from one move.",
    ("strategy",),
    STALL_SECONDS_BUCKETS,
)
FIRST_PAGE_SECONDS = Metric(
    "numaplace_move_first_page_seconds",
    MetricKind.HISTOGRAM,
    "From the beginning of a move to its first page moved.",
    (),
    SECONDS_BUCKETS,
)
HOME_CHANGES = Metric(
    "numaplace_home_changes_total", MetricKind.COUNTER, "Changes of home, by what noticed them first.", ("source",)
)
TASKS = Metric("numaplace_tasks", MetricKind.GAUGE, "Tasks that are followed.")

HOSTS = Metric("numaplace_hosts", MetricKind.GAUGE, "Hosts known to the scheduler.", ("state",))
JOBS = Metric("numaplace_jobs", MetricKind.GAUGE, "Jobs known to the scheduler.")
DECISIONS = Metric("numaplace_decisions_total", MetricKind.COUNTER, "Verdicts on drifts.", ("action", "reason"))
SESSIONS = Metric("numaplace_sessions_total", MetricKind.COUNTER, "Sessions that agents opened.")
RESYNCS = Metric("numaplace_resyncs_total", MetricKind.COUNTER, "Snapshots asked for anew.")
MESSAGES_REFUSED = Metric("numaplace_messages_refused_total", MetricKind.COUNTER, "Malformed messages of peers.")
CALLS = Metric("numaplace_calls_total", MetricKind.COUNTER, "Calls served, by method and status.", ("method", "status"))
QUEUE_LENGTH = Metric("numaplace_queue_length", MetricKind.GAUGE, "Events waiting for the one writer.")

SCHEDULER: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        MOVES, MOVES_OPEN, MOVED_BYTES, LEFT_BYTES, MOVE_SECONDS, STALL_SECONDS_MAX, FIRST_PAGE_SECONDS, HOME_CHANGES,
        TASKS, QUEUE_LENGTH, HOSTS, JOBS, DECISIONS, SESSIONS, RESYNCS, MESSAGES_REFUSED, CALLS,
    )
}  # fmt: skip
"""What the scheduler exports, by name."""
