"""What the scheduler and an agent show to people and programs: hosts, jobs, moves and policies as they are just now.

Views are answers, not facts to decide on: the planner has records of its own. Times are UTC wall-clock times.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.job import HomeChange, Task
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveProgress, MoveState
from numaplace.model.policy import Policy
from numaplace.model.session import Abilities, HostLoad
from numaplace.model.topology import Topology
from numaplace.model.worth import Action

DEFAULT_POLICY = "default"
"""The name of the policy of all jobs without one of their own; no job can be called so."""


class HostState(Enum):
    """Whether a host's agent has a session with the scheduler."""

    CONNECTED = "connected"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Host:
    """A host as the scheduler knows it. ``move_bytes_per_s`` is expected of a move, by its earlier ones."""

    id: HostId
    state: HostState
    topology: Topology
    abilities: Abilities
    load: HostLoad
    agent_version: str = ""
    last_seen: datetime | None = None
    tasks: int = 0
    moves_running: int = 0
    move_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """The last word of the planner on one task. ``reason`` is a stable word, see numaplace.model.worth.Reason."""

    action: Action
    reason: str
    words: str
    would_move_bytes: int = 0
    predicted_s: float = 0.0
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class TaskOnHost:
    """A job's task on one host, and what was decided about it; ``decision`` is None before the first verdict."""

    host: HostId
    task: Task
    locality: float
    remote_bytes: int
    last_change: HomeChange | None = None
    last_changed: datetime | None = None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job in the cluster. ``own_policy``: whether the policy is its own or the default."""

    id: JobId
    tasks: tuple[TaskOnHost, ...]
    policy: Policy
    own_policy: bool = False

    @property
    def resident_bytes(self) -> int:
        """All resident bytes of all its tasks."""
        return sum(each.task.residency.resident_bytes for each in self.tasks)

    @property
    def remote_bytes(self) -> int:
        """The resident bytes outside their task's home, of the kinds that the policy lets follow."""
        return sum(each.remote_bytes for each in self.tasks)

    @property
    def locality(self) -> float:
        """Resident bytes at home divided by all, of whatever kind; 1.0 for a job without pages."""
        resident = self.resident_bytes
        away = sum(each.task.residency.remote_bytes(each.task.home.nodes) for each in self.tasks)
        return 1.0 if resident == 0 else 1.0 - away / resident


@dataclass(frozen=True, slots=True)
class Move:
    """An order and all that became of it. ``order`` is None if the agent moved alone and only the end is known."""

    id: MoveId
    host: HostId
    job: JobId
    state: MoveState
    order: MoveOrder | None = None
    reason: str = ""
    created: datetime | None = None
    ended: datetime | None = None
    progress: MoveProgress | None = None
    outcome: MoveOutcome | None = None
    by_agent_alone: bool = False

    @property
    def moved_bytes(self) -> int:
        """Bytes moved so far."""
        known = self.outcome or self.progress
        return known.moved_bytes if known else 0

    @property
    def left(self) -> Mapping[LeftReason, int]:
        """Bytes that stay, by reason, as far as it is known."""
        known = self.outcome or self.progress
        return known.left if known else {}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job is, or is not, moved: its latest moves, newest first, and the answer in sentences."""

    job: Job
    moves: tuple[Move, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NamedPolicy:
    """A policy and whose it is; ``job`` is None for the default."""

    job: JobId | None
    policy: Policy


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """What an agent is and does on its host."""

    host: HostId
    version: str
    topology: Topology
    abilities: Abilities
    load: HostLoad
    connected: bool
    scheduler: str = ""
    tasks: int = 0
    threads: int = 0
    moves_open: int = 0
    outcomes_unacknowledged: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A task whose pages were located just now, and the bytes that earlier moves proved unmovable."""

    task: Task
    locality: float
    stuck: Mapping[LeftReason, int] = field(default_factory=dict)


LocalEvent = MoveOrder | MoveProgress | MoveOutcome | HomeChange
"""What an agent tells those who watch: an order accepted, how far it is, how it ended, a home that changed."""
