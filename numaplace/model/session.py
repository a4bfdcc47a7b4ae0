"""What agent and scheduler say to each other, as values; numaplace.wire carries them, protos/ defines the rules.

A report is a fact about the host, an instruction is what the scheduler wants of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from numaplace.model.ids import HostId, JobId, MoveId, NodeId, Nodes, TaskId
from numaplace.model.job import ChangeSource, HomeChange, Task
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveProgress
from numaplace.model.policy import Policy
from numaplace.model.residency import Residency
from numaplace.model.topology import Topology

PROTOCOL = 1
"""The session's protocol version; the scheduler refuses an agent whose version it does not speak."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who dials: ``instance`` is new for each start of the agent's process, ``boot_id`` for each boot of its kernel."""

    host: HostId
    instance: str
    boot_id: str
    protocol: int = PROTOCOL
    agent_version: str = ""


@dataclass(frozen=True, slots=True)
class HostLoad:
    """What the host's nodes can take, and what else moves pages there.

    ``free_bytes`` by node is what is free above the kernel's high watermark. ``others_pages_per_s``: pages that
    AutoNUMA, numad, kubelet or people migrate.
    """

    free_bytes: Mapping[NodeId, int] = field(default_factory=dict)
    others_pages_per_s: float = 0.0

    def free_at(self, nodes: Nodes) -> int | None:
        """What these nodes can take together, in bytes; None if nothing is known."""
        if not self.free_bytes:
            return None
        return sum(self.free_bytes.get(node, 0) for node in nodes)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an agent can do on its host, and in plain words what it lacks and what to change."""

    watchers: frozenset[ChangeSource] = frozenset({ChangeSource.SWEEP})
    can_move: bool = True
    sees_pagemap: bool = True
    migrate_holds_lock: bool = False
    kernel: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole truth about a host at one time; it replaces what the scheduler believed."""

    topology: Topology
    abilities: Abilities
    tasks: tuple[Task, ...]
    load: HostLoad = HostLoad()
    open_moves: tuple[MoveOrder, ...] = ()
    outcomes: tuple[MoveOutcome, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskGone:
    """A task ended or was released."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class ResidencyMeasured:
    """Where a task's pages are now, and the bytes that earlier moves proved unmovable, by reason."""

    task: TaskId
    residency: Residency
    stuck: Mapping[LeftReason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MoveAccepted:
    """The order is in the agent's journal: it will end exactly once with an outcome."""

    move: MoveId


Report = (
    Hello | Snapshot | Task | TaskGone | HomeChange | ResidencyMeasured | MoveAccepted | MoveProgress | MoveOutcome
    | HostLoad
)  # fmt: skip
"""Agent to scheduler. A bare Task is one that appeared, a MoveOutcome a move that finished."""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """The default policy and those of single jobs; it replaces the agent's earlier one."""

    default: Policy = field(default_factory=Policy)
    by_job: Mapping[JobId, Policy] = field(default_factory=dict)

    def of(self, job: JobId) -> Policy:
        """The policy that holds for a job."""
        return self.by_job.get(job, self.default)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The scheduler took the agent in."""

    policies: PolicySet
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Resync:
    """A report is missing: send a new snapshot."""

    reason: str


@dataclass(frozen=True, slots=True)
class CancelMove:
    """End a move early; its outcome follows as usual."""

    move: MoveId
    reason: str


@dataclass(frozen=True, slots=True)
class AcknowledgeOutcome:
    """The outcome is in the scheduler's store: the agent may forget it."""

    move: MoveId


@dataclass(frozen=True, slots=True)
class Measure:
    """Measure a task's residency now."""

    task: TaskId


Instruction = Welcome | Resync | MoveOrder | CancelMove | PolicySet | AcknowledgeOutcome | Measure
"""Scheduler to agent. A bare MoveOrder starts a move, a bare PolicySet replaces the policies."""
