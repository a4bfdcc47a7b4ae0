"""A mover at work on a true host: batches at virtual times, a question between any two whether to go on.

It stands in for `node_agent.linux.mover` in the bulk of the seeds: the same line to the shell, the same account.
"""

from collections.abc import Callable

from node_agent.core.events import StartMover
from numaplace.model.ids import MoveId, NodeId
from numaplace.model.move import LeftReason, MoveOutcome, MoveProgress, MoveState, Strategy
from numaplace.model.residency import Residency
from numaplace.model.route import leg_home, routes_of
from tests.simulation.setting import Setting
from tests.simulation.timeline import Life
from tests.simulation.truth import MIB, Lot, TrueHost, TrueTask

PROGRESS_EVERY = 4
"""Batches between two reports."""


class MoverRun:
    """One order, from its start to its outcome. Dies with the agent's process, pages where they are."""

    def __init__(
        self,
        do: StartMover,
        host: TrueHost,
        setting: Setting,
        life: Life,
        *,
        progress: Callable[[MoveProgress], None],
        ended: Callable[["MoverRun", MoveOutcome], None],
    ) -> None:
        self.order, self.task = do.order, do.task
        self._host, self._life = host, life
        self._ledger, self._timeline, self._rng = setting.ledger, setting.timeline, setting.rng
        self._progress, self._ended = progress, ended
        self._began_s = setting.timeline.now_s
        self._reason: str | None = None
        self._moved = 0
        self._calls = 0
        self._full: set[NodeId] = set()
        self._bytes_per_s = setting.rng.choice((30, 100, 400, 1500)) * MIB
        self.pinned_found = 0
        home = do.order.home
        holding = frozenset(self._residency().by_node)
        free = {node: host.free(node) for node in home}
        self._routes = routes_of(leg_home(do.order.previous_home, home, holding), do.topology, free)
        setting.timeline.after(setting.rng.uniform(0.0002, 0.01), self._batch, life)

    @property
    def id(self) -> MoveId:
        """Whose order this carries out."""
        return self.order.id

    def cancel(self, reason: str) -> None:
        """End after the present batch; the first reason stays."""
        self._reason = self._reason or reason

    @property
    def disturbed_bytes(self) -> int:
        """Its calls are instants: nothing happens in them."""
        return 0

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to end."""
        return self._reason is not None

    def _true_task(self) -> TrueTask | None:
        return self._host.same(self.task.processes, self.order.task)

    def _residency(self) -> Residency:
        task = self._true_task()
        return task.residency() if task else Residency()

    def _batch(self) -> None:
        task = self._true_task()
        if task is None or self._reason is not None:
            self._end(task)
            return
        lot = self._next(task)
        if lot is None:
            self._end(task)
            return
        self._calls += 1
        wanted = min(task.lots[lot], max(8 * MIB, self._bytes_per_s // 20))
        moved = self._carry(task, lot, wanted)
        if self._calls % PROGRESS_EVERY == 0:
            todo = sum(size for other, size in task.lots.items() if self._movable(task, other))
            pace = float(self._bytes_per_s)
            self._progress(MoveProgress(self.id, self._moved, todo, pace, task.residency()))
        seconds = moved / self._bytes_per_s + self._rng.uniform(0.0001, 0.002)
        self._timeline.after(seconds, self._batch, self._life)

    def _carry(self, task: TrueTask, lot: Lot, wanted: int) -> int:
        target = self._target(task, lot)
        if target is None:
            raise AssertionError(f"{lot} has no target")
        room = max(0, self._host.free(target) - self.order.policy.budget.headroom_bytes)
        moved = self._host.relocate(task, lot, target, min(wanted, room))
        if moved < wanted:
            self._full.add(target)
        if moved:
            self._ledger.moved(self._host.id, self.order, target, moved)
        self._moved += moved
        return moved

    def _next(self, task: TrueTask) -> Lot | None:
        return next((lot for lot in task.lots if self._movable(task, lot)), None)

    def _movable(self, task: TrueTask, lot: Lot) -> bool:
        foreign = lot.node not in self.order.home and lot.kind in self.order.policy.kinds and not lot.pinned
        return foreign and self._target(task, lot) is not None

    def _target(self, task: TrueTask, lot: Lot) -> NodeId | None:
        """Where it goes: its route's nodes, then any of the home, that are allowed and not full."""
        by_route = tuple(share.target for share in self._routes.get(lot.node, ()))
        for node in (*by_route, *sorted(self.order.home)):
            if node in task.mems and node not in self._full and node in self._host.capacity:
                return node
        return None

    def _end(self, task: TrueTask | None) -> None:
        left = self._left(task) if task else {LeftReason.VANISHED: 0}
        state, words = self._state(task, left)
        seconds = self._timeline.now_s - self._began_s
        residency = task.residency() if task else Residency()
        self.pinned_found = left.get(LeftReason.PINNED, 0)
        outcome = MoveOutcome(
            self.id, self.order.task, state, words, Strategy.MOVE_PAGES, "simulated", self._moved,
            {reason: size for reason, size in left.items() if size}, seconds, calls=self._calls, residency=residency,
        )  # fmt: skip
        self._ended(self, outcome)

    def _state(self, task: TrueTask | None, left: dict[LeftReason, int]) -> tuple[MoveState, str]:
        if task is None:
            return MoveState.FAILED, "the task ended"
        if self._reason is not None:
            early = MoveState.SUPERSEDED if self._reason.startswith("superseded") else MoveState.CANCELLED
            return early, self._reason
        if any(size for reason, size in left.items() if reason is not LeftReason.KEPT_BY_POLICY):
            return MoveState.PARTIAL, "some pages stayed"
        return MoveState.COMPLETED, "all pages are home"

    def _left(self, task: TrueTask) -> dict[LeftReason, int]:
        left: dict[LeftReason, int] = {}
        for lot, size in task.lots.items():
            if lot.node not in self.order.home:
                reason = self._why(task, lot)
                left[reason] = left.get(reason, 0) + size
        return left

    def _why(self, task: TrueTask, lot: Lot) -> LeftReason:
        if lot.kind not in self.order.policy.kinds:
            return LeftReason.KEPT_BY_POLICY
        if self._reason is not None:
            return LeftReason.NOT_REACHED
        if lot.pinned:
            return LeftReason.PINNED
        return LeftReason.TARGET_FULL if self.order.home & task.mems else LeftReason.OUTSIDE_CPUSET
