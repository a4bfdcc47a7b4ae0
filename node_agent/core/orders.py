"""The agent's orders: each id is carried out once, no task is ever moved by two at a time, every order ends once.

An order lives in the states of numaplace.model.move.MoveState. ACCEPTED ones wait: for a free place among the
movers, or for the end of an older move of the same task. Transitions outside the table are bugs and raise.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from numaplace.model.ids import MoveId, TaskId
from numaplace.model.move import MoveOrder, MoveOutcome, MoveState

_NEXT: dict[MoveState, frozenset[MoveState]] = {
    MoveState.ACCEPTED: frozenset({MoveState.RUNNING, *(s for s in MoveState if s.final)}),
    MoveState.RUNNING: frozenset({MoveState.CANCELLING, *(s for s in MoveState if s.final)}),
    MoveState.CANCELLING: frozenset(s for s in MoveState if s.final),
}


class InvalidTransitionError(AssertionError):
    """A transition that the table does not know; carries the order's history."""


@dataclass(slots=True)
class _Open:
    order: MoveOrder
    history: list[MoveState]

    @property
    def state(self) -> MoveState:
        return self.history[-1]

    def go(self, state: MoveState) -> None:
        if state not in _NEXT[self.state]:
            raise InvalidTransitionError(f"{self.order.id}: {self.history} -> {state}")
        self.history.append(state)


class Orders:
    """Orders accepted and not finished, and the outcomes of those that are.

    Outcomes that the scheduler has not acknowledged are kept until it does; of the acknowledged ones the last
    ``remembered_max``, so that a stale duplicate is answered with the truth instead of being run again.
    """

    def __init__(self, remembered_max: int = 1024) -> None:
        self._open: OrderedDict[MoveId, _Open] = OrderedDict()
        self._unacknowledged: OrderedDict[MoveId, MoveOutcome] = OrderedDict()
        self._acknowledged: OrderedDict[MoveId, MoveOutcome | None] = OrderedDict()
        self._remembered_max = remembered_max

    def recall(self, finished: Iterable[MoveId], outcomes: Iterable[MoveOutcome]) -> None:
        """Take over what the journal remembers of finished orders."""
        for move in finished:
            self._acknowledged[move] = None
        for outcome in outcomes:
            self._acknowledged.pop(outcome.move, None)
            self._unacknowledged[outcome.move] = outcome
        self._forget_old()

    def accept(self, order: MoveOrder) -> None:
        """A new order, not yet started."""
        if self.known(order.id):
            raise InvalidTransitionError(f"{order.id} is known already")
        self._open[order.id] = _Open(order, [MoveState.ACCEPTED])

    def start(self, move: MoveId) -> None:
        """A mover takes it up."""
        task = self._open[move].order.task
        if any(o.order.task == task and o.state is not MoveState.ACCEPTED for o in self._open.values()):
            raise InvalidTransitionError(f"{move}: a move of {task} is running already")
        self._open[move].go(MoveState.RUNNING)

    def cancelling(self, move: MoveId) -> None:
        """Its mover was asked to end."""
        self._open[move].go(MoveState.CANCELLING)

    def end(self, outcome: MoveOutcome) -> None:
        """The outcome; from now on it is repeated until acknowledged."""
        self._open[outcome.move].go(outcome.state)
        del self._open[outcome.move]
        self._unacknowledged[outcome.move] = outcome

    def turn_down(self, outcome: MoveOutcome) -> None:
        """The outcome of an order that was never accepted; it, too, is repeated until acknowledged."""
        if self.known(outcome.move):
            raise InvalidTransitionError(f"{outcome.move} is known already")
        self._unacknowledged[outcome.move] = outcome

    def acknowledge(self, move: MoveId) -> bool:
        """The scheduler has the outcome; False if there was nothing to acknowledge."""
        outcome = self._unacknowledged.pop(move, None)
        if outcome is None:
            return False
        self._acknowledged[move] = outcome
        self._forget_old()
        return True

    def _forget_old(self) -> None:
        while len(self._acknowledged) > self._remembered_max:
            self._acknowledged.popitem(last=False)

    def known(self, move: MoveId) -> bool:
        """Whether this id was ever given to us, as far as we remember."""
        return move in self._open or move in self._unacknowledged or move in self._acknowledged

    def is_open(self, move: MoveId) -> bool:
        """Whether the order is accepted and not finished."""
        return move in self._open

    def state(self, move: MoveId) -> MoveState | None:
        """The state of an open order."""
        entry = self._open.get(move)
        return entry.state if entry else None

    def outcome(self, move: MoveId) -> MoveOutcome | None:
        """The outcome of a finished order, if it is still remembered."""
        return self._unacknowledged.get(move) or self._acknowledged.get(move)

    @property
    def open_orders(self) -> tuple[MoveOrder, ...]:
        """Accepted and not finished, oldest first."""
        return tuple(o.order for o in self._open.values())

    @property
    def unacknowledged(self) -> tuple[MoveOutcome, ...]:
        """Outcomes to be repeated, oldest first."""
        return tuple(self._unacknowledged.values())

    def of_task(self, task: TaskId) -> tuple[MoveOrder, ...]:
        """The open orders of one task, oldest first: at most one of them is past ACCEPTED."""
        return tuple(o.order for o in self._open.values() if o.order.task == task)

    def active(self, task: TaskId) -> MoveOrder | None:
        """The task's order that a mover is working on."""
        return next((o for o in self.of_task(task) if self._open[o.id].state is not MoveState.ACCEPTED), None)

    def startable(self, movers_max: int) -> Iterator[MoveOrder]:
        """Orders that may start now, oldest first; start each before asking for the next."""
        for move in tuple(self._open):
            running = sum(o.state is not MoveState.ACCEPTED for o in self._open.values())
            if running >= movers_max:
                return
            entry = self._open.get(move)
            if entry and entry.state is MoveState.ACCEPTED and self.active(entry.order.task) is None:
                yield entry.order
