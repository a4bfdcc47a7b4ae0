"""What measuring and moving need of a kernel, as small protocols: the mover runs the same on a host and on a fake.

Errors are those of `numaplace.kernel.errors`: ProcessGone, Denied, OutsideCpuset, TargetFull, Unsupported.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from node_agent.core.facts import ProcessRef, Room, TaskFacts
from node_agent.core.pages import Addresses, Frames, Ints, Mask, Pages, Region, Sizes
from numaplace.model.ids import Cpus, NodeId, Nodes
from numaplace.model.job import MemoryPolicy
from numaplace.model.move import MigrationCounters


@dataclass(frozen=True, slots=True)
class RegionPolicy:
    """The memory policy of a region, by its start; ``resident_bytes`` is what lies in it."""

    start: int
    policy: MemoryPolicy
    nodes: Nodes
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Felt:
    """What the job has felt since it began: its cgroup's memory pressure, and the run delay of one thread on average.

    None where unknown.
    """

    at_s: float
    pressure_us: int | None = None
    delay_ns: float | None = None


def lost_shares(before: Felt, after: Felt) -> tuple[float | None, float | None]:
    """The shares of the time between that the job lost to memory stalls, and that a thread waited for a CPU."""
    while_s = after.at_s - before.at_s
    pressure = delay = None
    if while_s > 0 and before.pressure_us is not None and after.pressure_us is not None:
        pressure = (after.pressure_us - before.pressure_us) / 1e6 / while_s
    if while_s > 0 and before.delay_ns is not None and after.delay_ns is not None:
        delay = (after.delay_ns - before.delay_ns) / 1e9 / while_s
    return pressure, delay


class ProcessMemory(Protocol):
    """One process's memory, held open: what it says stays about that process even if its pid is reused."""

    @property
    def ref(self) -> ProcessRef:
        """Which process this is."""
        ...

    def alive(self) -> bool:
        """Whether it still is the process that was opened, and has not exited."""
        ...

    def resident_bytes(self) -> int:
        """A cheap figure of its resident size."""
        ...

    def regions(self) -> Sequence[Region]:
        """Its mappings, in address order."""
        ...

    def pages(self, start: int, end: int) -> Pages:
        """The present pages in a range, huge ones whole; their kinds are the caller's to fill in."""
        ...

    def move(self, addresses: Addresses, nodes: Ints, status: Ints, *, move_all: bool) -> int:
        """move_pages(2)."""
        ...

    def query(self, addresses: Addresses) -> Ints:
        """move_pages(2) without nodes: where each page is, or a negated errno."""
        ...

    def present(self, addresses: Addresses) -> Mask:
        """At which of these addresses a page is mapped, be it the kernel's page of zeros."""
        ...

    def reveal(self, addresses: Addresses) -> Mask:
        """Which of these pages are present although move_pages(2) does not find them, and are found from now on.

        That is what Linux 6.1 to 6.4 make of a page that AutoNUMA has marked. Nothing is faulted in.
        """
        ...

    def migrate(self, source: NodeId, target: NodeId) -> int:
        """migrate_pages(2) from one node to one, without pages that other processes map too."""
        ...

    def policies(self, *, whole: bool) -> Sequence[RegionPolicy]:
        """Memory policies; without ``whole`` only of the first mappings, which show the task's own policy."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class CpusetHandle(Protocol):
    """A cpuset whose mems may be written."""

    def mems(self) -> Nodes:
        """The nodes it allows."""
        ...

    def write_mems(self, mems: Nodes) -> None:
        """Allow these nodes and no others. Blocks while the kernel moves what lies elsewhere."""
        ...


class HostMemory(Protocol):
    """The host's memory, its clock, and what it tells of moves."""

    @property
    def base_bytes(self) -> int:
        """The size of a base page."""
        ...

    @property
    def thp_bytes(self) -> int:
        """The size of a transparent huge page; 0 if there are none."""
        ...

    @property
    def concurrent(self) -> bool:
        """Whether calls may be made from several threads; a fake with a virtual clock says no."""
        ...

    @property
    def sees_frames(self) -> bool:
        """Whether frame numbers are visible: without, shared pages cannot be told apart."""
        ...

    def open(self, process: ProcessRef, owner: int | None = None) -> ProcessMemory:
        """Open a process, which must belong to this user, if one is named, as long as it is open.

        Raises ProcessGone if it is another one, or another user's, by now; Denied without the right.
        """
        ...

    def map_counts(self, frames: Frames) -> Sizes:
        """How often each frame is mapped on the whole host."""
        ...

    def tails(self, frames: Frames) -> Mask:
        """Which frames are inside a larger page, not its first."""
        ...

    def rooms(self, nodes: Collection[NodeId]) -> Mapping[NodeId, Room]:
        """What each node can take now; ``free_bytes`` is above the high watermark."""
        ...

    def free_hugetlb_bytes(self, node: NodeId) -> int:
        """Free and allowed surplus pages of the node's hugetlb pools, in bytes."""
        ...

    def counters(self) -> MigrationCounters:
        """The host's migration counters since boot."""
        ...

    def felt(self, task: TaskFacts) -> Felt:
        """What the task has felt so far."""
        ...

    def cpuset_of(self, task: TaskFacts) -> CpusetHandle | None:
        """The task's cpuset if it can be written; None without one of its own."""
        ...

    def kernel_moves_on_mems_write(self, task: TaskFacts) -> bool:
        """Whether the kernel itself moves pages when the task's cpuset.mems is written (v2; v1 memory_migrate)."""
        ...

    def run_on(self, cpus: Cpus) -> None:
        """Let the calling thread run on these CPUs if that is allowed; empty for wherever it may."""
        ...

    def own_delay_s(self) -> float:
        """How long the calling thread has waited for a CPU so far."""
        ...

    def now_s(self) -> float:
        """The clock that durations are measured by."""
        ...

    def sleep_s(self, seconds: float) -> None:
        """Let time pass."""
        ...
