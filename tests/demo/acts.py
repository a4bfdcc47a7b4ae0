"""The three acts of the demo: three ways in which a job comes to other CPUs, and what each cost until it was home."""

from collections.abc import Callable
from dataclasses import dataclass, field

from numaplace.model.ids import Cpus, Nodes
from numaplace.model.move import LeftReason, MoveOutcome, MoveProgress
from numaplace.model.residency import Residency
from numaplace.model.topology import Topology
from numaplace.model.views import Move
from tests.harness.job import Cpusets, Job

HOME_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Act:
    """One re-pin: its words, the home it leads to, and the deed."""

    title: str
    words: str
    home: Nodes
    perform: Callable[[], None]


@dataclass(slots=True)
class Course:
    """How an act goes, as it is seen from outside; ``home_s`` is the time from the deed until 95 % were home."""

    act: Act
    began_s: float
    residency: Residency
    progress: MoveProgress | None = None
    outcome: MoveOutcome | None = None
    home_s: float | None = None
    stall_ms: float = 0.0
    moved_bytes: int = 0
    left: dict[LeftReason, int] = field(default_factory=dict)

    def see(self, move: Move, now_s: float) -> None:
        """A change of a move of the job; moves to another home are not of this act."""
        if move.order is None or move.order.home != self.act.home:
            return
        if move.progress is not None and move.outcome is None:
            self.progress, self.residency = move.progress, move.progress.residency
        if move.outcome is not None:
            self.outcome = move.outcome
            self.moved_bytes += move.outcome.moved_bytes
            self.left = dict(move.outcome.left)
            self.residency = move.outcome.residency if move.outcome.residency.cells else self.residency
        if self.home_s is None and self.residency.locality(self.act.home) >= HOME_SHARE:
            self.home_s = now_s - self.began_s


def two_nodes(topology: Topology) -> tuple[Cpus, Cpus]:
    """The CPUs of the first two nodes that have both CPUs and memory."""
    first, second = sorted((n for n in topology.nodes if n.cpus and n.memory_bytes), key=lambda node: node.id)[:2]
    return first.cpus, second.cpus


def three_acts(topology: Topology, job: Job, cpusets: Cpusets) -> tuple[Act, ...]:
    """The acts for a job that runs on the first of two nodes, in the cpuset ``a``."""
    first, second = two_nodes(topology)
    home_1, home_2 = topology.home_of(first), topology.home_of(second)

    def attach() -> None:
        cpusets.make("b", second)
        cpusets.attach("b", job.pid)

    return (
        Act(
            "1. sched_setaffinity from outside",
            f"every thread is pinned to the CPUs of node {min(home_2)}, as a batch system would do it",
            home_2,
            lambda: job.pin(second),
        ),
        Act(
            "2. a write to cpuset.cpus",
            f"its cpuset is narrowed to the CPUs of node {min(home_1)}, as kubelet would do it",
            home_1,
            lambda: cpusets.set_cpus("a", first),
        ),
        Act(
            "3. attached to another cpuset",
            f"it joins a cpuset on node {min(home_2)}, as a resource manager would do it",
            home_2,
            attach,
        ),
    )
