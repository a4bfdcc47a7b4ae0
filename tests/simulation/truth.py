"""A host as it really is: nodes, tasks, and where their pages lie. What agents believe is measured against it.

Pages are counted in lots: so many bytes on one node, of one size and kind, pinned or not. Nothing here is clever: it
allocates, frees and migrates as it is told, and keeps the sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from node_agent.core.facts import Measured, ProcessRef, TaskFacts
from numaplace.model.ids import CpuId, Cpus, HostId, JobId, NodeId, Nodes, TaskId
from numaplace.model.job import MemoryPolicy
from numaplace.model.residency import Cell, PageKind, PageSize, Residency
from numaplace.model.session import HostLoad
from numaplace.model.topology import Node, Topology

MIB = 1 << 20
TICKS_PER_S = 100


class Lot(NamedTuple):
    """Pages that are alike."""

    node: NodeId
    size: PageSize
    kind: PageKind
    pinned: bool


@dataclass
class TrueTask:
    """A task of a host; ``started_s`` on the host's boot clock."""

    id: TaskId
    job: JobId
    processes: tuple[ProcessRef, ...]
    cpus: Cpus
    mems: Nodes
    started_s: float
    memory_policy: MemoryPolicy = MemoryPolicy.DEFAULT
    _lots: dict[Lot, int] = field(default_factory=dict)

    @property
    def lots(self) -> Mapping[Lot, int]:
        """Its pages."""
        return self._lots

    def allow(self, mems: Nodes) -> None:
        """Its cpuset allows these nodes from now on."""
        self.mems = mems

    def facts(self) -> TaskFacts:
        """What a sweep sees of it."""
        return TaskFacts(
            self.id, self.job, "job", self.processes, len(self.processes), self.cpus, self.mems, self.started_s
        )

    def residency(self) -> Residency:
        """Where its pages are."""
        cells: dict[Cell, int] = {}
        for lot, size in self.lots.items():
            cell = Cell(lot.node, lot.size, lot.kind)
            cells[cell] = cells.get(cell, 0) + size
        return Residency(cells)

    def measured(self) -> Measured:
        """What a measurement says."""
        return Measured(self.residency(), self.memory_policy)

    def add(self, lot: Lot, size: int) -> None:
        """More (or, below zero, less) of a lot."""
        left = self._lots.get(lot, 0) + size
        if left < 0:
            raise ValueError(f"{lot} would hold {left} bytes")
        if left:
            self._lots[lot] = left
        else:
            del self._lots[lot]


class TrueHost:
    """A host's hardware and tasks. ``booted_s`` is when its boot clock was zero, in the run's time."""

    slack_bytes = 0
    """So much room is not worth a move: allocators keep some for themselves."""

    def __init__(self, host: HostId, rng: Random, booted_s: float) -> None:
        self.id = host
        self.boot = 1
        self.booted_s = booted_s
        self.tasks: dict[TaskId, TrueTask] = {}
        self.ballast: dict[NodeId, int] = {}
        self.others_pages_per_s = 0.0
        self.offline: set[CpuId] = set()
        self._pids = 100
        ids = sorted(rng.sample(range(6), rng.choice((2, 2, 3, 4))))
        self.nodes = tuple(NodeId(i) for i in ids)
        cpus_each = rng.choice((1, 2, 4))
        without_cpus = self.nodes[-1] if len(ids) > 2 and rng.random() < 0.3 else None
        self.cpus_of = {
            node: frozenset(CpuId(at * cpus_each + i) for i in range(cpus_each))
            if node != without_cpus
            else frozenset()
            for at, node in enumerate(self.nodes)
        }
        self.capacity = {node: rng.choice((512, 1024, 2048)) * MIB for node in self.nodes}
        self.topology = self._topology()

    @property
    def boot_id(self) -> str:
        """The kernel's boot id."""
        return f"{self.id}-boot-{self.boot}"

    @property
    def all_nodes(self) -> Nodes:
        """Every node."""
        return frozenset(self.nodes)

    @property
    def cpu_nodes(self) -> tuple[NodeId, ...]:
        """The nodes that have CPUs."""
        return tuple(node for node in self.nodes if self.cpus_of[node])

    def _topology(self) -> Topology:
        distances = {a: {b: 10 if a == b else 20 + abs(a - b) for b in self.nodes} for a in self.nodes}
        return Topology(
            tuple(Node(n, self.cpus_of[n] - self.offline, self.capacity[n], distances[n]) for n in self.nodes)
        )

    def set_offline(self, cpus: set[CpuId]) -> None:
        """Take exactly these CPUs offline."""
        self.offline = cpus
        self.topology = self._topology()

    def reboot(self, now_s: float) -> None:
        """A new kernel: no task survives."""
        self.boot += 1
        self.booted_s = now_s
        for task in tuple(self.tasks.values()):
            self.end(task)
        self.empty()
        self.offline = set()
        self.topology = self._topology()

    # Tasks

    def new_process(self, at_boot_s: float, pid: int | None = None) -> ProcessRef:
        """A process; with ``pid`` one that reuses it."""
        if pid is None:
            self._pids += 1
            pid = self._pids
        return ProcessRef(pid, int(at_boot_s * TICKS_PER_S))

    def same(self, processes: tuple[ProcessRef, ...], task: TaskId) -> TrueTask | None:
        """The task, if any of these processes still is what it was."""
        known = self.tasks.get(task)
        return known if known is not None and set(known.processes) & set(processes) else None

    def begin(self, task: TrueTask) -> TrueTask:
        """A task begins, without memory."""
        self.tasks[task.id] = task
        return task

    def end(self, task: TrueTask) -> None:
        """A task ends."""
        del self.tasks[task.id]

    # Memory

    def fill(self, node: NodeId, size: int) -> None:
        """Others take so much more of a node."""
        self.ballast[node] = self.ballast.get(node, 0) + size

    def empty(self) -> None:
        """Others free what they have taken."""
        self.ballast.clear()

    def used(self, node: NodeId) -> int:
        """What tasks and others hold of a node."""
        held = sum(size for task in self.tasks.values() for lot, size in task.lots.items() if lot.node == node)
        return held + self.ballast.get(node, 0)

    def free(self, node: NodeId) -> int:
        """What a node can take."""
        return max(0, self.capacity[node] - self.used(node))

    def load(self) -> HostLoad:
        """What a measurement of the host says."""
        return HostLoad({node: self.free(node) for node in self.nodes}, self.others_pages_per_s)

    def allocate(self, task: TrueTask, wanted: Mapping[tuple[PageSize, PageKind, bool], int]) -> None:
        """First touch: at home if there is room and the cpuset allows it, else where there is, else not at all."""
        home = self.topology.home_of(task.cpus)
        order = sorted(task.mems, key=lambda node: (node not in home, node))
        for (size, kind, pinned), amount in wanted.items():
            rest = amount
            for node in order:
                part = min(rest, self.free(node))
                if part > 0:
                    task.add(Lot(node, size, kind, pinned), part)
                    rest -= part

    def relocate(self, task: TrueTask, lot: Lot, target: NodeId, size: int) -> int:
        """Move so much of a lot to a node as it holds and there is room for; returns how much that was."""
        moved = 0 if lot.pinned else min(size, task.lots.get(lot, 0), self.free(target))
        if moved > 0 and lot.node != target:
            task.add(lot, -moved)
            task.add(lot._replace(node=target), moved)
        return moved
