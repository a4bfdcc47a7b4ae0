"""What to do: the state's answers to an event, carried out by the shell in their order.

Those that :data:`StoreInstruction` names are made durable, all of one event together, before any of the same event is
sent: so an order is on disk before its host sees it, and an outcome before it is acknowledged.
"""

from dataclasses import dataclass
from enum import Enum

from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.policy import Policy
from numaplace.model.session import Instruction as Message
from numaplace.model.worth import HostCosts, Verdict
from scheduler.planning.records import Move, TaskKey
from scheduler.state.events import SessionId


@dataclass(frozen=True, slots=True)
class SendTo:
    """Say this to the agent of a session; nothing happens if it is gone."""

    session: SessionId
    message: Message


@dataclass(frozen=True, slots=True)
class StoreOrder:
    """Keep an order that has not ended, or how far it has come."""

    move: Move


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """Keep how an order ended."""

    move: Move


@dataclass(frozen=True, slots=True)
class ForgetMoves:
    """These ended so long ago that the bounded history drops them."""

    moves: tuple[MoveId, ...]


@dataclass(frozen=True, slots=True)
class StorePolicy:
    """Keep a job's policy, or with ``job`` None the default."""

    job: JobId | None
    policy: Policy


@dataclass(frozen=True, slots=True)
class ForgetPolicy:
    """A job has no policy of its own any more."""

    job: JobId


@dataclass(frozen=True, slots=True)
class StoreCosts:
    """Keep what moves on this host have been found to cost."""

    host: HostId
    costs: HostCosts


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send a Tick at this time; replaces the time asked for before, None for no time at all."""

    at_s: float | None


@dataclass(frozen=True, slots=True)
class Publish:
    """A move is new or has changed: tell whoever watches."""

    move: Move


class CloseCause(Enum):
    """Why a session is closed from here."""

    TAKEN_OVER = "taken-over"
    PROTOCOL = "protocol"
    BAD_REPORT = "bad-report"
    TOO_MANY = "too-many"
    UNRESPONSIVE = "unresponsive"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End a session and tell the agent why."""

    session: SessionId
    cause: CloseCause
    words: str


class FaultKind(Enum):
    """What an agent did wrong, without harm: a stable word for logs and metrics."""

    UNKNOWN_MOVE = "unknown-move"
    UNKNOWN_TASK = "unknown-task"
    UNKNOWN_NODE = "unknown-node"
    STALE_CHANGE = "stale-change"
    OUT_OF_SEQUENCE = "out-of-sequence"
    CONTRADICTION = "contradiction"
    TOO_MUCH = "too-much"
    TAKEN_OVER = "taken-over"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that a sound agent would not have said; it was ignored or repaired, and is worth a line in the log."""

    host: HostId
    kind: FaultKind
    words: str


@dataclass(frozen=True, slots=True)
class Decided:
    """The planner's word on a task is another than before; for the log."""

    key: TaskKey
    job: JobId
    verdict: Verdict


StoreInstruction = StoreOrder | StoreOutcome | ForgetMoves | StorePolicy | ForgetPolicy | StoreCosts
Instruction = StoreInstruction | SendTo | WakeAt | Publish | CloseSession | Fault | Decided
