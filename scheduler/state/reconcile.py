"""After a snapshot: which of our orders the host has, which are sent again, and which can only end.

An order that was never accepted and still leads home is sent again: it is idempotent by its id. So is one that was
sent within this very session, for it may be under way to the host; the host ends it itself if it is stale.
"""

from collections.abc import Iterable, Iterator

from numaplace.model.ids import HostId, JobId
from numaplace.model.move import MoveOrder, MoveState
from numaplace.model.session import CancelMove, MoveAccepted
from scheduler.planning.records import Move, Stage, TaskKey
from scheduler.state.book import MoveBook
from scheduler.state.bounds import Bounds
from scheduler.state.events import SessionId
from scheduler.state.instructions import Fault, FaultKind, Instruction, Publish, SendTo, StoreOrder
from scheduler.state.orders import SUPERSEDED, Orders
from scheduler.state.world import World

_Do = Iterator[Instruction]


class Reconciliation:
    """Compares the book with what a host says it has."""

    def __init__(self, world: World, book: MoveBook, orders: Orders, bounds: Bounds) -> None:
        self._world = world
        self._book = book
        self._orders = orders
        self._bounds = bounds

    def with_open(self, host: HostId, session: SessionId, reported: Iterable[MoveOrder], now_s: float) -> _Do:
        """``reported`` are the orders that the host has accepted and not finished."""
        orders = {order.id: order for order in reported}
        for move in self._book.open_on(host):
            if move.id not in orders:
                yield from self._settle(move, session, orders.values(), now_s)
        for order in orders.values():
            yield from self._meet(host, session, order, now_s)

    def _meet(self, host: HostId, session: SessionId, order: MoveOrder, now_s: float) -> _Do:
        """The host has this order open."""
        move = self._book.find(order.id)
        if move is None:
            yield from self._adopt(host, order, now_s)
        elif move.host != host:
            yield Fault(host, FaultKind.CONTRADICTION, f"has {order.id} open, an order to another host")
        else:
            yield from self._orders.accepted(host, MoveAccepted(order.id))
        move = self._book.open.get(order.id)
        if move is None or move.host != host:
            return
        task = self._world.task(move.key)
        if move.cancel:
            yield SendTo(session, CancelMove(move.id, move.cancel))
        elif task is not None and task.task.home.nodes != order.home:
            reason = f"{SUPERSEDED}its home is now {sorted(task.task.home.nodes)}"
            yield from self._orders.cancel(move, reason, now_s)

    def _adopt(self, host: HostId, order: MoveOrder, now_s: float) -> _Do:
        """The agent began a move alone: it counts as any other from now on."""
        key = TaskKey(host, order.task)
        if self._book.of_task(key) is not None:
            yield Fault(host, FaultKind.CONTRADICTION, f"has two moves of {order.task} open")
            return
        if len(self._book.open_on(host)) >= self._bounds.open_per_host_max:
            yield Fault(host, FaultKind.TOO_MUCH, f"has more than {self._bounds.open_per_host_max} moves open")
            return
        record = self._world.task(key)
        move = Move(
            id=order.id,
            host=host,
            job=record.task.job if record else JobId(order.task),
            task=order.task,
            order=order,
            stage=Stage.ACCEPTED,
            created_s=now_s,
            reason="decided by the agent alone",
            boot_id=self._world.hosts[host].boot_id,
            by_agent_alone=True,
        )
        self._book.add(move)
        yield StoreOrder(move)
        yield Publish(move)

    def _settle(self, move: Move, session: SessionId, reported: Iterable[MoveOrder], now_s: float) -> _Do:
        """The host does not have this order of ours."""
        verdict = self._void(move, reported)
        under_way = move.stage is Stage.SENT and self._orders.sent_in(move.id, session)
        if verdict is None or under_way:
            yield from self._orders.send(move, now_s)
        else:
            yield from self._orders.end_here(move, *verdict, now_s)

    def _void(self, move: Move, reported: Iterable[MoveOrder]) -> tuple[MoveState, str] | None:
        """How an order ends that its host does not have; None if it is to be sent again."""
        if move.boot_id != self._world.hosts[move.host].boot_id:
            return MoveState.FAILED, "the host was rebooted before the move ended"
        if move.stage in (Stage.ACCEPTED, Stage.RUNNING):
            return MoveState.FAILED, "the agent accepted the order and has lost it; was its journal removed?"
        if move.cancel:
            state = MoveState.SUPERSEDED if move.cancel.startswith(SUPERSEDED) else MoveState.CANCELLED
            return state, f"{move.cancel} (the order never reached its host)"
        return self._pointless(move, reported)

    def _pointless(self, move: Move, reported: Iterable[MoveOrder]) -> tuple[MoveState, str] | None:
        """Why an order that never reached its host need not reach it any more."""
        task = self._world.task(move.key)
        if task is None:
            return MoveState.CANCELLED, "the task ended before the order reached its host"
        if move.order is None or task.task.home.nodes != move.order.home:
            return MoveState.SUPERSEDED, "the task's home changed before the order reached its host"
        if any(other.task == move.task for other in reported):
            return MoveState.SUPERSEDED, "the agent had begun a move of its own before the order reached it"
        return None
