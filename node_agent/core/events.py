"""What the agent's core is told, and what it wants done: the whole interface between the pure core and its shell.

Events say what happened; instructions say what to do, and the shell carries them out in the order given. An
instruction to the journal is on disk before the next one is looked at: so an order is reported as accepted, and
started, only when it can no longer be lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from node_agent.core.facts import Hint, Measured, ProcessRef, Sweep, TaskFacts
from numaplace.model.hand import HandMove
from numaplace.model.ids import MoveId, TaskId
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveProgress
from numaplace.model.session import Abilities, HostLoad, Instruction, PolicySet, Report
from numaplace.model.topology import Topology
from numaplace.model.views import LocalEvent


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep ended; ``hints`` are those that came before it and may name who changed what."""

    sweep: Sweep
    hints: tuple[Hint, ...] = ()


@dataclass(frozen=True, slots=True)
class PagesMeasured:
    """A task's pages were located, which took ``seconds``."""

    task: TaskId
    measured: Measured
    stuck: Mapping[LeftReason, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class MeasuringFailed:
    """A task's pages could not be located; the shell has logged why."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class LoadMeasured:
    """The nodes' free memory and the migrations of others."""

    load: HostLoad


@dataclass(frozen=True, slots=True)
class AbilitiesKnown:
    """The host was probed."""

    abilities: Abilities


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The scheduler took us in: it now needs a snapshot."""


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The session ended, for whatever reason."""


@dataclass(frozen=True, slots=True)
class Told:
    """The scheduler said something."""

    instruction: Instruction


@dataclass(frozen=True, slots=True)
class MoverProgressed:
    """A mover at work reports."""

    progress: MoveProgress


@dataclass(frozen=True, slots=True)
class MoverEnded:
    """A mover is done; nothing of it runs any more."""

    outcome: MoveOutcome


@dataclass(frozen=True, slots=True)
class HandMoveAsked:
    """Somebody of this host, who may, asks for a move by hand: of these processes, at once or not at all."""

    order: MoveOrder
    task: TaskFacts
    what: HandMove


@dataclass(frozen=True, slots=True)
class Woke:
    """The time asked for by WakeAt has come."""


Event = (
    Swept | PagesMeasured | MeasuringFailed | LoadMeasured | AbilitiesKnown | SessionOpened | SessionClosed | Told
    | MoverProgressed | MoverEnded | HandMoveAsked | Woke
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Send:
    """Report to the scheduler; without a session it is dropped, for the next snapshot holds it."""

    report: Report


@dataclass(frozen=True, slots=True)
class JournalAccept:
    """Write an accepted order."""

    order: MoveOrder


@dataclass(frozen=True, slots=True)
class JournalFinish:
    """Write an order's outcome."""

    outcome: MoveOutcome


@dataclass(frozen=True, slots=True)
class JournalAcknowledge:
    """The scheduler has the outcome."""

    move: MoveId


@dataclass(frozen=True, slots=True)
class JournalPolicies:
    """Keep the policies for when we are alone."""

    policies: PolicySet


@dataclass(frozen=True, slots=True)
class StartMover:
    """Move the pages, on a worker thread; ``what`` is None for a follow move, all pages home."""

    order: MoveOrder
    task: TaskFacts
    topology: Topology
    what: HandMove | None = None


@dataclass(frozen=True, slots=True)
class RefuseByHand:
    """Tell whoever asked for this move by hand that it cannot be now, and why."""

    move: MoveId
    words: str


@dataclass(frozen=True, slots=True)
class CancelMover:
    """Ask a mover to end after its current batch."""

    move: MoveId
    reason: str


@dataclass(frozen=True, slots=True)
class MeasurePages:
    """Locate a task's pages, on a worker thread."""

    task: TaskId
    processes: tuple[ProcessRef, ...]


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send Woke at this time. It replaces the time asked for before: the core says each time when it wants to wake."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell local watchers (the command line, the demo); ``uid`` owns what it is about, and others do not see it."""

    what: LocalEvent
    uid: int


Do = (
    Send | JournalAccept | JournalFinish | JournalAcknowledge | JournalPolicies | StartMover | CancelMover
    | RefuseByHand | MeasurePages | WakeAt | Publish
)  # fmt: skip
