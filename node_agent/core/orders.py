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
    # What never ran moved nothing, so it cannot have completed.
    MoveState.ACCEPTED: frozenset(
        {MoveState.RUNNING, MoveState.CANCELLED, MoveState.SUPERSEDED, MoveState.REFUSED, MoveState.FAILED}
    ),
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
            story = " -> ".join(past.value for past in self.history)
            raise InvalidTransitionError(f"{self.order.id}: {story} -> {state.value}")
        self.history.append(state)


class Orders:
    """Orders accepted and not finished, and the outcomes of those that are.

    Outcomes that the scheduler has not acknowledged are kept until it does; of the acknowledged ones the last
    ``remembered_max``, so that a stale duplicate is answered with the truth instead of being run again. Whoever
    accepts orders bounds the rest. Questions about one order or one task cost the same however many there are.
    """

    def __init__(self, remembered_max: int = 1024) -> None:
        self._open: dict[MoveId, _Open] = {}
        self._waiting: dict[MoveId, None] = {}
        self._of_task: dict[TaskId, dict[MoveId, MoveOrder]] = {}
        self._active: dict[TaskId, MoveId] = {}
        self._unacknowledged: dict[MoveId, MoveOutcome] = {}
        self._acknowledged: OrderedDict[MoveId, MoveOutcome] = OrderedDict()
        self._remembered_max = remembered_max

    def recall(self, finished: Iterable[MoveOutcome], outcomes: Iterable[MoveOutcome]) -> None:
        """Take over what the journal remembers of finished orders, acknowledged and not."""
        for outcome in finished:
            self._acknowledged[outcome.move] = outcome
        for outcome in outcomes:
            self._acknowledged.pop(outcome.move, None)
            self._unacknowledged[outcome.move] = outcome
        self._forget_old()

    def accept(self, order: MoveOrder) -> None:
        """A new order, not yet started."""
        if self.known(order.id):
            raise InvalidTransitionError(f"{order.id} is known already: {self._story(order.id)}")
        self._open[order.id] = _Open(order, [MoveState.ACCEPTED])
        self._waiting[order.id] = None
        self._of_task.setdefault(order.task, {})[order.id] = order

    def start(self, move: MoveId) -> None:
        """A mover takes it up."""
        entry = self._entry(move)
        task = entry.order.task
        if task in self._active:
            raise InvalidTransitionError(f"{move}: {self._active[task]} is moving {task} already")
        entry.go(MoveState.RUNNING)
        del self._waiting[move]
        self._active[task] = move

    def cancelling(self, move: MoveId) -> None:
        """Its mover was asked to end early."""
        self._entry(move).go(MoveState.CANCELLING)

    def end(self, outcome: MoveOutcome) -> None:
        """It ended; from now on its outcome is repeated until acknowledged."""
        entry = self._entry(outcome.move)
        entry.go(outcome.state)
        task = entry.order.task
        del self._open[outcome.move]
        self._waiting.pop(outcome.move, None)
        if self._active.get(task) == outcome.move:
            del self._active[task]
        del self._of_task[task][outcome.move]
        if not self._of_task[task]:
            del self._of_task[task]
        self._unacknowledged[outcome.move] = outcome

    def turn_down(self, outcome: MoveOutcome) -> None:
        """The outcome of an order that was never accepted; it, too, is repeated until acknowledged."""
        if self.known(outcome.move):
            raise InvalidTransitionError(f"{outcome.move} is known already: {self._story(outcome.move)}")
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

    def _entry(self, move: MoveId) -> _Open:
        if move not in self._open:
            raise InvalidTransitionError(f"{move} is not open: {self._story(move)}")
        return self._open[move]

    def _story(self, move: MoveId) -> str:
        if move in self._open:
            return " -> ".join(state.value for state in self._open[move].history)
        outcome = self.outcome(move)
        return "never heard of" if outcome is None else f"ended as {outcome.state.value} ({outcome.words})"

    def known(self, move: MoveId) -> bool:
        """Whether this id was ever given to us, as far as we remember."""
        return move in self._open or move in self._unacknowledged or move in self._acknowledged

    def is_open(self, move: MoveId) -> bool:
        """Whether the order is accepted and not finished."""
        return move in self._open

    def order(self, move: MoveId) -> MoveOrder | None:
        """An open order."""
        entry = self._open.get(move)
        return entry.order if entry else None

    def state(self, move: MoveId) -> MoveState | None:
        """The state of an open order."""
        entry = self._open.get(move)
        return entry.state if entry else None

    def outcome(self, move: MoveId) -> MoveOutcome | None:
        """The outcome of a finished order, if it is still remembered."""
        return self._unacknowledged.get(move) or self._acknowledged.get(move)

    @property
    def open_count(self) -> int:
        """How many are accepted and not finished."""
        return len(self._open)

    @property
    def unacknowledged_count(self) -> int:
        """How many outcomes are to be repeated."""
        return len(self._unacknowledged)

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
        return tuple(self._of_task.get(task, {}).values())

    def active(self, task: TaskId) -> MoveOrder | None:
        """The task's order that a mover is working on."""
        move = self._active.get(task)
        return None if move is None else self._open[move].order

    def startable(self, movers_max: int) -> Iterator[MoveOrder]:
        """Orders that may start now, oldest first; start, end or pass over each before asking for the next."""
        if len(self._active) >= movers_max:
            return
        for move in tuple(self._waiting):
            if len(self._active) >= movers_max:
                return
            entry = self._open.get(move)
            if entry and entry.state is MoveState.ACCEPTED and entry.order.task not in self._active:
                yield entry.order
