"""Moves by hand: asked for on this host, of whatever is named, followed or not; no scheduler hears of them.

They are neither orders nor waited for: one that cannot begin at once is refused, and whoever asked may ask again. But
they share the movers' first rule: no process ever has two. So a move by hand is refused where a mover is at work, and
an order for a task that shares a process with one waits for its end.
"""

from collections.abc import Iterator, Mapping

from node_agent.core.at_work import AtWork
from node_agent.core.events import Do, HandMoveAsked, Publish, RefuseByHand, StartMover
from node_agent.core.followed import Followed
from node_agent.core.history import History
from node_agent.core.orders import Orders
from numaplace.model.ids import MoveId, TaskId
from numaplace.model.move import MoveOutcome
from numaplace.model.topology import Topology


class HandMoves:
    """Those at work; how many there may be is for whoever takes the calls to bound."""

    def __init__(self, at_work: AtWork, history: History, orders: Orders, tasks: Mapping[TaskId, Followed]) -> None:
        self._at_work = at_work
        self._history = history
        self._orders = orders
        self._tasks = tasks
        self._running: dict[MoveId, HandMoveAsked] = {}

    @property
    def running(self) -> Mapping[MoveId, HandMoveAsked]:
        """What is being moved by hand now."""
        return self._running

    def take(self, asked: HandMoveAsked, topology: Topology) -> Iterator[Do]:
        """Start it, or say why not now."""
        move, mover = asked.order.id, self._mover_on(asked)
        if not topology.nodes:
            yield RefuseByHand(move, "the agent has only just started; ask again in a moment")
        elif mover is not None:
            yield RefuseByHand(
                move, f"{asked.task.id} is being moved already, by {mover}: wait for its end, or cancel it"
            )
        else:
            self._at_work.begin(move, asked.task.processes)
            self._running[move] = asked
            yield Publish(asked.order, asked.task.uid)
            yield StartMover(asked.order, asked.task, topology, asked.what)

    def _mover_on(self, asked: HandMoveAsked) -> MoveId | None:
        """A mover of any of its processes, or of a task that they have joined since that mover began."""
        mover = self._at_work.on(asked.task.processes)
        if mover is not None:
            return mover
        for task in self._sharing(asked):
            order = self._orders.active(task.facts.id)
            if order is not None:
                return order.id
        return None

    def _sharing(self, asked: HandMoveAsked) -> Iterator[Followed]:
        """The followed tasks that have any of its processes now."""
        processes = frozenset(asked.task.processes)
        return (task for task in self._tasks.values() if not processes.isdisjoint(task.facts.processes))

    def ended(self, outcome: MoveOutcome, now_s: float) -> Iterator[Do]:
        """Its mover is done: where it moved pages of followed tasks, they are looked at anew."""
        asked = self._running.pop(outcome.move)
        self._at_work.end(outcome.move)
        self._history.add(outcome, asked.task.uid)
        for task in self._sharing(asked):
            task.ask_measure(now_s)
        yield Publish(outcome, asked.task.uid)
