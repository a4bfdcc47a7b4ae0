"""How the last moves ended, and whose they were, for whoever asks: outcomes outlive their tasks here.

It is memory alone and bounded. What an order's life needs of its outcome is in :mod:`node_agent.core.orders`.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from numaplace.model.ids import TaskId
from numaplace.model.move import MoveOutcome

OUTCOMES_MAX = 512


@dataclass(frozen=True, slots=True)
class Ended:
    """An outcome and the owner of its task's processes; None where only an earlier run of the agent knew them."""

    outcome: MoveOutcome
    uid: int | None


class History:
    """The last outcomes; ``owner_uid`` tells the present owner of a task, 0 for one that is gone.

    ``earlier``: those of an earlier run of the agent, oldest first.
    """

    def __init__(
        self,
        owner_uid: Callable[[TaskId], int],
        earlier: Iterable[MoveOutcome] = (),
        outcomes_max: int = OUTCOMES_MAX,
    ) -> None:
        self._owner_uid = owner_uid
        self._ended = deque((Ended(outcome, None) for outcome in earlier), outcomes_max)

    def add(self, outcome: MoveOutcome, uid: int) -> None:
        """A move of this owner's processes ended so."""
        self._ended.append(Ended(outcome, uid))

    def outcomes(self, may_see: Callable[[int], bool]) -> tuple[MoveOutcome, ...]:
        """Those whose owner may be seen, newest first."""
        return tuple(ended.outcome for ended in reversed(self._ended) if may_see(self._uid(ended)))

    def _uid(self, ended: Ended) -> int:
        return self._owner_uid(ended.outcome.task) if ended.uid is None else ended.uid
