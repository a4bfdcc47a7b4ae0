"""Names, labels and meanings of all metrics of agent and scheduler: one table, which the exporters register.

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
    "numaplace_change_to_first_page_seconds",
    MetricKind.HISTOGRAM,
    "From noticing a change of home to the first page moved.",
    (),
    SECONDS_BUCKETS,
)
HOME_CHANGES = Metric(
    "numaplace_home_changes_total", MetricKind.COUNTER, "Changes of home, by what noticed them first.", ("source",)
)
TASKS = Metric("numaplace_tasks", MetricKind.GAUGE, "Tasks that are followed.")
THREADS = Metric("numaplace_threads", MetricKind.GAUGE, "Threads that are watched.")
REMOTE_BYTES = Metric("numaplace_remote_bytes", MetricKind.GAUGE, "Resident bytes outside their task's home.")
RESIDENT_BYTES = Metric("numaplace_resident_bytes", MetricKind.GAUGE, "Resident bytes of followed tasks.")
NODE_FREE_BYTES = Metric(
    "numaplace_node_free_bytes", MetricKind.GAUGE, "Free bytes above the high watermark, by NUMA node.", ("node",)
)
OTHERS_PAGES_PER_S = Metric(
    "numaplace_others_pages_per_second", MetricKind.GAUGE, "Pages migrated by others than numaplace."
)
CONNECTED = Metric("numaplace_connected", MetricKind.GAUGE, "1 while the agent has a session with the scheduler.")
OUTCOMES_UNACKNOWLEDGED = Metric(
    "numaplace_outcomes_unacknowledged", MetricKind.GAUGE, "Outcomes that the scheduler has not yet acknowledged."
)
SWEEP_SECONDS = Metric(
    "numaplace_sweep_seconds", MetricKind.HISTOGRAM, "How long a sweep of all tasks took.", (), SECONDS_BUCKETS
)

HOSTS = Metric("numaplace_hosts", MetricKind.GAUGE, "Hosts known to the scheduler.", ("state",))
JOBS = Metric("numaplace_jobs", MetricKind.GAUGE, "Jobs known to the scheduler.")
DECISIONS = Metric("numaplace_decisions_total", MetricKind.COUNTER, "Verdicts on drifts.", ("action", "reason"))
SESSIONS = Metric("numaplace_sessions_total", MetricKind.COUNTER, "Sessions that agents opened.")
RESYNCS = Metric("numaplace_resyncs_total", MetricKind.COUNTER, "Snapshots asked for anew.")
MESSAGES_REFUSED = Metric("numaplace_messages_refused_total", MetricKind.COUNTER, "Malformed messages of peers.")
CALLS = Metric("numaplace_calls_total", MetricKind.COUNTER, "Calls served, by method and status.", ("method", "status"))
QUEUE_LENGTH = Metric("numaplace_queue_length", MetricKind.GAUGE, "Events waiting for the one writer.")

_BOTH = (MOVES, MOVES_OPEN, MOVED_BYTES, LEFT_BYTES, MOVE_SECONDS, STALL_SECONDS_MAX, FIRST_PAGE_SECONDS, HOME_CHANGES,
         TASKS, REMOTE_BYTES, RESIDENT_BYTES, QUEUE_LENGTH)  # fmt: skip
AGENT: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *_BOTH, THREADS, NODE_FREE_BYTES, OTHERS_PAGES_PER_S, CONNECTED, OUTCOMES_UNACKNOWLEDGED, SWEEP_SECONDS
    )
}  # fmt: skip
"""What an agent exports, by name."""
SCHEDULER: Mapping[str, Metric] = {
    metric.name: metric for metric in (*_BOTH, HOSTS, JOBS, DECISIONS, SESSIONS, RESYNCS, MESSAGES_REFUSED, CALLS)
}
"""What the scheduler exports, by name."""
