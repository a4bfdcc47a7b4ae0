"""A task as its agent sees it: who it is, which CPUs it may use, where its home is, and how its memory is bound."""

from dataclasses import dataclass, field
from enum import Enum

from numaplace.model.ids import Cpus, JobId, Nodes, TaskId
from numaplace.model.residency import Residency


class MemoryPolicy(Enum):
    """The kernel memory policy under which most of a task's memory lies, as numa_maps names it."""

    DEFAULT = "default"
    LOCAL = "local"
    PREFERRED = "prefer"
    PREFERRED_MANY = "prefer (many)"
    BIND = "bind"
    INTERLEAVE = "interleave"
    WEIGHTED_INTERLEAVE = "weighted interleave"

    @property
    def spread_on_purpose(self) -> bool:
        """Whether the owner asked for pages on several nodes."""
        return self in (MemoryPolicy.INTERLEAVE, MemoryPolicy.WEIGHTED_INTERLEAVE)


class ChangeSource(Enum):
    """What told us of a change first."""

    SWEEP = "sweep"
    FANOTIFY = "fanotify"
    INOTIFY = "inotify"
    TRACEFS = "tracefs"
    START = "start"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who made a change, where the kernel tells; ``command`` is empty if the process was gone before we looked."""

    pid: int
    command: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """A task's home at one time.

    ``version`` grows with each change: it is the host's boot-time clock in nanoseconds when the change was seen, so
    that it also grows over restarts of the agent.
    """

    nodes: Nodes
    version: int


@dataclass(frozen=True, slots=True)
class Task:
    """A task's part on one host.

    ``cpus`` is the union over its threads; ``mems`` what its cpuset allows; ``age_s`` the time since its first
    process started, measured when the task was reported.
    """

    id: TaskId
    job: JobId
    command: str
    cpus: Cpus
    mems: Nodes
    home: Home
    previous_home: Nodes
    processes: int
    threads: int
    age_s: float
    memory_policy: MemoryPolicy = MemoryPolicy.DEFAULT
    policy_nodes: Nodes = frozenset()
    cgroup: str = ""
    uid: int = 0
    residency: Residency = field(default_factory=Residency)


@dataclass(frozen=True, slots=True)
class HomeChange:
    """A task's CPUs led to another home, or its CPUs or mems changed within the same one."""

    task: TaskId
    cpus: Cpus
    mems: Nodes
    home: Home
    previous_home: Nodes
    source: ChangeSource
    actor: Actor | None = None
    changes: int = 1
    """How many changes this one sums up: a burst ends in one."""
