"""Facts about this host as the adapters report them to the pure core: tasks as swept, hints that wake a sweep."""

from dataclasses import dataclass

from numaplace.model.ids import Cpus, JobId, NodeId, Nodes, TaskId
from numaplace.model.job import Actor, ChangeSource, MemoryPolicy
from numaplace.model.move import MoveOrder, MoveOutcome
from numaplace.model.residency import Residency
from numaplace.model.session import PolicySet
from numaplace.model.topology import Topology


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """A process is its pid and its start time in clock ticks since boot: pids are reused."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What a sweep learned of one task.

    ``cpus``: the union of its threads' effective affinities. ``mems``: the nodes its cpuset allows. ``started_s``:
    the start of its oldest process on the boot-time clock. ``uid``: the owner of its processes, 0 if they have several.
    """

    id: TaskId
    job: JobId
    command: str
    processes: tuple[ProcessRef, ...]
    threads: int
    cpus: Cpus
    mems: Nodes
    started_s: float
    cgroup: str = ""
    uid: int = 0


@dataclass(frozen=True, slots=True)
class Sweep:
    """The whole truth about the followed tasks at one time; a task that is missing is gone."""

    at_s: float
    topology: Topology
    tasks: tuple[TaskFacts, ...]


@dataclass(frozen=True, slots=True)
class Hint:
    """A watcher saw something that may have changed a home: look now. Never a fact in itself.

    ``pid`` or ``cgroup`` narrow down whose home it may be; both absent means anyone's. ``structural`` says that
    processes or threads came or went, so that the list of tasks is to be made anew.
    """

    source: ChangeSource
    actor: Actor | None = None
    pid: int | None = None
    cgroup: str | None = None
    structural: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """Where a task's pages lie, and the memory policy that most of its memory is under."""

    residency: Residency
    memory_policy: MemoryPolicy = MemoryPolicy.DEFAULT
    policy_nodes: Nodes = frozenset()


@dataclass(frozen=True, slots=True)
class Room:
    """What one node can take: ``free_bytes`` above the high watermark; ``free_thp`` blocks if known."""

    node: NodeId
    free_bytes: int
    free_thp: int | None = None


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an earlier run of the agent left in its journal.

    Orders accepted and not finished, outcomes not acknowledged, outcomes acknowledged (``finished``), oldest first,
    the last policies, and whether the kernel still is the same boot.
    """

    open_moves: tuple[MoveOrder, ...] = ()
    outcomes: tuple[MoveOutcome, ...] = ()
    finished: tuple[MoveOutcome, ...] = ()
    policies: PolicySet | None = None
    same_boot: bool = True
