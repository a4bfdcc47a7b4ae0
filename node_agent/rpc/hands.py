"""What the local service asks of the rest of the agent, which the bootstrap fills in: one value for each uid."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from node_agent.core.events import HandMoveAsked
from node_agent.core.facts import Measured, ProcessRef, TaskFacts
from node_agent.ports import MoveJob
from numaplace.model.hand import HandEvent, Prediction
from numaplace.model.ids import JobId, MoveId
from numaplace.model.move import LeftReason

Located = tuple[Measured, Mapping[LeftReason, int]]


@dataclass(frozen=True, slots=True)
class Hands:
    """What the service of one uid asks of the rest of the agent.

    ``find`` takes a pid or a cgroup, and whether of a pid that process alone is meant, without its descendants.

    ``find`` and ``adopt`` raise LookupError or ValueError, ``adopt`` and ``release`` NotYoursError, ``predict``
    KernelCallError, and all that wait for the kernel TooManyCallsError. What is adopted is the process that was looked
    at, not its pid. ``move`` ends its move early when it is closed, calls what it is given as soon as nothing of the
    move runs any more, and raises NotNowError.
    """

    now_s: Callable[[], float]
    connected: Callable[[], bool]
    find: Callable[[int | None, str | None, bool], Awaitable[TaskFacts]]
    locate: Callable[[tuple[ProcessRef, ...]], Awaitable[Located]]
    adopt: Callable[[JobId, ProcessRef | None, str | None], Awaitable[TaskFacts]]
    release: Callable[[JobId], Awaitable[int]]
    predict: Callable[[MoveJob], Awaitable[Prediction]]
    move: Callable[[HandMoveAsked, Callable[[], None]], AsyncGenerator[HandEvent, None]]
    cancel: Callable[[MoveId, str], bool]


@dataclass(frozen=True, slots=True)
class About:
    """The host's name and the scheduler's address, for the status."""

    host: str
    scheduler: str
