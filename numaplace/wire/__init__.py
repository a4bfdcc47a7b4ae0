"""Between the wire's messages and the model's values, both ways; the only place where the two meet.

Writers never fail for a value that the model allows and whose identifiers are printable; readers take nothing on
trust and raise :class:`WireError` alone. Free text is cut and cleaned on both sides, identifiers are exact.
"""

from numaplace.wire.checks import WireError, clean
from numaplace.wire.host import (
    abilities_from_proto,
    abilities_to_proto,
    load_from_proto,
    load_to_proto,
    topology_from_proto,
    topology_to_proto,
)
from numaplace.wire.move import (
    left_from_proto,
    left_to_proto,
    order_from_proto,
    order_to_proto,
    outcome_from_proto,
    outcome_to_proto,
    progress_from_proto,
    progress_to_proto,
)
from numaplace.wire.policy import policies_from_proto, policies_to_proto, policy_from_proto, policy_to_proto
from numaplace.wire.session import (
    instruction_from_proto,
    instruction_to_proto,
    report_from_proto,
    report_to_proto,
    snapshot_from_proto,
    snapshot_to_proto,
)
from numaplace.wire.stored import from_bytes, to_bytes
from numaplace.wire.task import (
    change_from_proto,
    change_to_proto,
    residency_from_proto,
    residency_to_proto,
    task_from_proto,
    task_to_proto,
)

__all__ = [
    "WireError",
    "abilities_from_proto",
    "abilities_to_proto",
    "change_from_proto",
    "change_to_proto",
    "clean",
    "from_bytes",
    "instruction_from_proto",
    "instruction_to_proto",
    "left_from_proto",
    "left_to_proto",
    "load_from_proto",
    "load_to_proto",
    "order_from_proto",
    "order_to_proto",
    "outcome_from_proto",
    "outcome_to_proto",
    "policies_from_proto",
    "policies_to_proto",
    "policy_from_proto",
    "policy_to_proto",
    "progress_from_proto",
    "progress_to_proto",
    "report_from_proto",
    "report_to_proto",
    "residency_from_proto",
    "residency_to_proto",
    "snapshot_from_proto",
    "snapshot_to_proto",
    "task_from_proto",
    "task_to_proto",
    "to_bytes",
    "topology_from_proto",
    "topology_to_proto",
]
