"""What the scheduler knows of hosts, tasks and moves, as immutable values.

The planner reads them and changes nothing; the state replaces them one by one. All times are seconds on the
scheduler's one monotonic clock; a record that was stored by an earlier run may have a negative time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from numaplace.model.ids import HostId, JobId, MoveId, Nodes, TaskId
from numaplace.model.job import HomeChange, Task
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveProgress, MoveState
from numaplace.model.session import Abilities, HostLoad
from numaplace.model.topology import Topology
from numaplace.model.worth import HostCosts, Lacked, Verdict


class TaskKey(NamedTuple):
    """A task's name in the cluster: task ids are unique on their host only."""

    host: HostId
    task: TaskId


class Stage(Enum):
    """How far the scheduler knows an order to have come."""

    PLANNED = "planned"
    SENT = "sent"
    ACCEPTED = "accepted"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Move:
    """An order and all that became of it.

    ``order`` is None if the agent moved alone and only its outcome is known. ``cancel`` is the reason for which its
    end was asked. ``boot_id``: the boot of the host for which the order is meant. ``by_scheduler``: the outcome was
    written here because the host cannot know the order; should the host give one after all, that one holds.
    """

    id: MoveId
    host: HostId
    job: JobId
    task: TaskId
    order: MoveOrder | None
    stage: Stage
    created_s: float
    reason: str = ""
    boot_id: str = ""
    ended_s: float | None = None
    cancel: str = ""
    progress: MoveProgress | None = None
    outcome: MoveOutcome | None = None
    by_agent_alone: bool = False
    by_scheduler: bool = False

    @property
    def key(self) -> TaskKey:
        """Whose move it is."""
        return TaskKey(self.host, self.task)

    @property
    def open(self) -> bool:
        """Whether its end is still to come."""
        return self.stage is not Stage.FINISHED


@dataclass(frozen=True, slots=True)
class Tried:
    """The last move of a task that ended: towards which home, how, when, and what it found no room for."""

    home: Nodes
    version: int
    state: MoveState
    at_s: float
    lacked: Lacked | None = None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task and what was seen of it.

    ``reported_s``: when ``task.age_s`` was true. ``recent_changes_s``: when its home changed of late, ascending.
    ``measured_s`` and ``asked_s``: when its residency was last measured and last asked for. ``held``: why no order
    is given until the next change of its home or policy, empty if nothing holds it.
    """

    host: HostId
    task: Task
    reported_s: float
    changed_s: float
    recent_changes_s: tuple[float, ...] = ()
    last_change: HomeChange | None = None
    measured_s: float | None = None
    asked_s: float | None = None
    stuck: Mapping[LeftReason, int] = field(default_factory=dict)
    tried: Tried | None = None
    held: str = ""
    verdict: Verdict | None = None
    decided_s: float = 0.0

    @property
    def key(self) -> TaskKey:
        """The task's name in the cluster."""
        return TaskKey(self.host, self.task.id)


@dataclass(frozen=True, slots=True)
class HostRecord:
    """A host as its agent last described it. ``in_step``: connected, and its snapshot has arrived."""

    id: HostId
    last_seen_s: float
    boot_id: str = ""
    agent_version: str = ""
    topology: Topology = field(default_factory=lambda: Topology(()))
    abilities: Abilities = field(default_factory=Abilities)
    load: HostLoad = field(default_factory=HostLoad)
    costs: HostCosts = field(default_factory=HostCosts)
    connected: bool = False
    in_step: bool = False


@dataclass(frozen=True, slots=True)
class MoveLimits:
    """How many moves may run at once."""

    per_host_max: int = 2
    in_cluster_max: int = 64

    def __post_init__(self) -> None:
        if self.per_host_max < 1 or self.in_cluster_max < 1:
            raise ValueError("limits on moves must be at least 1; to move nothing use a policy with mode = never")
