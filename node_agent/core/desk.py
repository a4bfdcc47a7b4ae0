"""Where orders are taken in, turned down, started, ended early and closed: the rules around the order table.

Every path that ends an order goes through the journal before it is reported, in that order. Memory is bounded: when
too much is open or unacknowledged, orders are turned down without being remembered, and of the outcomes of our own
orders, which nobody may ever ask for, the oldest are forgotten.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from node_agent.core.at_work import AtWork
from node_agent.core.events import (
    CancelMover,
    Do,
    JournalAccept,
    JournalAcknowledge,
    JournalFinish,
    Publish,
    Send,
    StartMover,
)
from node_agent.core.followed import Followed
from node_agent.core.history import History
from node_agent.core.orders import Orders
from numaplace.model.ids import ALONE_PREFIX, MoveId, TaskId
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveState
from numaplace.model.residency import Residency
from numaplace.model.session import MoveAccepted
from numaplace.model.topology import Topology

UNKNOWN_TASK = TaskId("unknown")
"""The task of an order that never arrived."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the agent allows itself at a time.

    ``orders_max``: open orders and unacknowledged outcomes together. ``own_outcomes_max``: of the agent's own orders.
    """

    movers_max: int = 2
    measurements_max: int = 1
    orders_max: int = 4096
    own_outcomes_max: int = 256


class Desk:
    """Orders and the rules around them; ``task`` looks up a followed task by its id."""

    def __init__(
        self,
        orders: Orders,
        limits: Limits,
        task: Callable[[TaskId], Followed | None],
        at_work: AtWork,
        history: History,
    ) -> None:
        self.orders = orders
        self._limits = limits
        self._task = task
        self._at_work = at_work
        self._history = history
        self._owners: dict[MoveId, int] = {}

    def take(self, order: MoveOrder, *, can_move: bool) -> Iterator[Do]:
        """An order came in: accept it, turn it down, or answer a repeated one as before.

        Also one that ended in an earlier run and was acknowledged: a scheduler restored from a backup asks again.
        """
        outcome = self.orders.outcome(order.id)
        if self.orders.is_open(order.id):
            yield Send(MoveAccepted(order.id))
        elif outcome is not None:
            yield Send(outcome)
        elif self._full:
            words = "too many orders are open, or their outcomes not acknowledged, on this host; it comes too early"
            yield Send(MoveOutcome(order.id, order.task, MoveState.REFUSED, words))
        else:
            refusal = self._refusal(order, can_move=can_move)
            if refusal is not None:
                yield from self._turn_down(MoveOutcome(order.id, order.task, *refusal))
            else:
                yield from self._accept(order)

    @property
    def _full(self) -> bool:
        return self.orders.open_count + self.orders.unacknowledged_count >= self._limits.orders_max

    def _refusal(self, order: MoveOrder, *, can_move: bool) -> tuple[MoveState, str] | None:
        task = self._task(order.task)
        if task is None:
            return MoveState.REFUSED, "no such task on this host"
        if task.home.nodes != order.home:
            return MoveState.SUPERSEDED, _superseded_by_home(task)
        if not can_move:
            return MoveState.REFUSED, "the agent may not move pages here; numaplace status says what it lacks"
        return None

    def _turn_down(self, outcome: MoveOutcome) -> Iterator[Do]:
        self.orders.turn_down(outcome)
        yield JournalFinish(outcome)
        yield Send(outcome)

    def _accept(self, order: MoveOrder) -> Iterator[Do]:
        self._open(order)
        yield JournalAccept(order)
        yield Send(MoveAccepted(order.id))
        yield Publish(order, self.owner_uid(order.id))
        for older in self.orders.of_task(order.task):
            if older.id != order.id:
                yield from self.end_early(older, f"superseded: by {order.id}")

    def _open(self, order: MoveOrder) -> None:
        self.orders.accept(order)
        task = self._task(order.task)
        self._owners[order.id] = task.facts.uid if task else 0

    def owner_uid(self, move: MoveId) -> int:
        """Whose task an open order is about, also when the task is gone; 0 for any other."""
        return self._owners.get(move, 0)

    def resume(self, orders: Iterable[MoveOrder], *, same_boot: bool) -> Iterator[Do]:
        """Orders that an earlier run accepted: go on where that still makes sense, else say how they ended."""
        orders = tuple(orders)
        newest = {order.task: order.id for order in orders}
        for order in orders:
            self._open(order)
            task = self._task(order.task)
            if not same_boot:
                yield from self._close(order, MoveState.FAILED, "the host was rebooted before the move ended")
            elif task is None:
                yield from self._close(order, MoveState.FAILED, "the task ended while the agent was away")
            elif task.home.nodes != order.home:
                yield from self._close(order, MoveState.SUPERSEDED, _superseded_by_home(task))
            elif newest[order.task] != order.id:
                yield from self._close(order, MoveState.SUPERSEDED, f"superseded: by {newest[order.task]}")

    def task_gone(self, task: TaskId) -> Iterator[Do]:
        """What waits will never run, and a mover at work is told: the task may only be followed no more.

        Should it appear again before its mover has ended, with another home, nothing else would stop that mover.
        """
        for order in self.orders.of_task(task):
            if self.orders.state(order.id) is MoveState.ACCEPTED:
                yield from self._close(order, MoveState.FAILED, "the task ended before its move began")
            else:
                yield from self.end_early(order, "the task ended or is not followed any more")

    def home_changed(self, task: Followed) -> Iterator[Do]:
        """Moves towards an older home end."""
        for order in self.orders.of_task(task.facts.id):
            if order.home != task.home.nodes:
                yield from self.end_early(order, _superseded_by_home(task))

    def cancel(self, move: MoveId, reason: str) -> Iterator[Do]:
        """End an order early, whatever its state; one that never arrived is turned down for good."""
        order = self.orders.order(move)
        outcome = self.orders.outcome(move)
        if order is not None:
            yield from self.end_early(order, reason or "cancelled")
        elif outcome is not None:
            yield Send(outcome)
        else:
            never = MoveOutcome(move, UNKNOWN_TASK, MoveState.CANCELLED, "cancelled before it arrived")
            if self._full:
                yield Send(never)
            else:
                yield from self._turn_down(never)

    def end_early(self, order: MoveOrder, reason: str) -> Iterator[Do]:
        """Ask its mover to end, or close it if none has begun."""
        state = self.orders.state(order.id)
        if state is MoveState.RUNNING:
            self.orders.cancelling(order.id)
            yield CancelMover(order.id, reason)
        elif state is MoveState.ACCEPTED:
            final = MoveState.SUPERSEDED if reason.startswith("superseded") else MoveState.CANCELLED
            yield from self._close(order, final, reason)

    def ended(self, outcome: MoveOutcome) -> Iterator[Do]:
        """A mover is done."""
        self.orders.end(outcome)
        self._at_work.end(outcome.move)
        yield from self._publish_end(outcome)

    def _close(self, order: MoveOrder, state: MoveState, words: str) -> Iterator[Do]:
        """End an order that no mover works on."""
        task = self._task(order.task)
        residency = task.residency if task else Residency()
        remote = residency.remote_bytes(order.home, order.policy.kinds)
        left = {LeftReason.NOT_REACHED: remote} if remote else {}
        outcome = MoveOutcome(order.id, order.task, state, words, left=left, residency=residency)
        self.orders.end(outcome)
        yield from self._publish_end(outcome)

    def _publish_end(self, outcome: MoveOutcome) -> Iterator[Do]:
        yield JournalFinish(outcome)
        yield Send(outcome)
        uid = self._owners.pop(outcome.move, 0)
        self._history.add(outcome, uid)
        yield Publish(outcome, uid)
        if outcome.move.startswith(ALONE_PREFIX):
            yield from self._forget_own()

    def _forget_own(self) -> Iterator[Do]:
        own = [o.move for o in self.orders.unacknowledged if o.move.startswith(ALONE_PREFIX)]
        for move in own[: max(0, len(own) - self._limits.own_outcomes_max)]:
            yield from self.acknowledge(move)

    def acknowledge(self, move: MoveId) -> Iterator[Do]:
        """The scheduler has the outcome."""
        if self.orders.acknowledge(move):
            yield JournalAcknowledge(move)

    def start_waiting(self, topology: Topology) -> Iterator[Do]:
        """Start what may start now; where another mover still has some of the task's processes, it waits for that."""
        for order in self.orders.startable(self._limits.movers_max):
            task = self._task(order.task)
            if task is None:
                raise AssertionError(f"{order.id} waits for {order.task}, which is gone")
            if self._at_work.on(task.facts.processes) is not None:
                continue
            self.orders.start(order.id)
            self._at_work.begin(order.id, task.facts.processes)
            yield StartMover(order, task.facts, topology)


def _superseded_by_home(task: Followed) -> str:
    return f"superseded: its home is now {sorted(task.home.nodes)}"
