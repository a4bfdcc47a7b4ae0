"""One leg of a move: its strategy's own first step, then passes of batches until next to nothing of it is left."""

from collections.abc import Callable

from node_agent.core.strategy import Place, place
from node_agent.linux.courier import Cancelled, Courier
from node_agent.linux.first_step import migrate_whole, wait_for_kernel
from node_agent.linux.plan import Plan, allowed_targets, make_plan
from node_agent.linux.room import RoomGuard
from node_agent.linux.underway import Means, UnderWay
from node_agent.ports import MoveJob
from numaplace.model.ids import Nodes
from numaplace.model.move import Strategy
from numaplace.model.residency import Residency
from numaplace.model.route import Leg

PASSES_MAX = 4


class LegRun:
    """Carries out one leg; used once."""

    def __init__(
        self, means: Means, job: MoveJob, leg: Leg, state: UnderWay, mems: Nodes, *, owns_cpuset: bool
    ) -> None:
        """``mems``: what the task's cpuset allows by now; ``owns_cpuset``: whether it is handed over with the pages."""
        self._means, self._job, self._leg, self._state = means, job, leg, state
        nodes = sorted(allowed_targets(job, leg, mems))
        self._guard = RoomGuard(means.host, nodes, job.order.policy.budget.headroom_bytes, exact=leg.exact)
        self._plan: Plan = make_plan(
            means.host,
            job,
            leg,
            state.views,
            traits=means.traits,
            known=state.known,
            free_bytes=self._guard.free_bytes(),
            mems=mems,
            owns_cpuset=owns_cpuset,
            stuck=means.stuck,
        )
        if state.choice is None:
            state.choice = self._plan.choice
        elif state.choice.strategy is not self._plan.choice.strategy:
            state.notes.append(f"a later leg by {self._plan.choice.strategy.value}: {self._plan.choice.reason}")

    def carry_out(self, between: Callable[[], str | None], splits_before: int) -> str | None:
        """Move what there is to move; returns why it ended early, or None.

        ``between`` is called between calls and gives the reason to end early; ``splits_before``: huge pages split on
        this host until the move began.
        """
        means, state, choice = self._means, self._state, self._plan.choice
        state.last = None
        courier = Courier(
            means.host,
            self._job.task,
            memories={view.memory.ref: view.memory for view in state.views},
            ledger=state.ledger,
            tally=state.tally,
            guard=self._guard,
            stuck=means.stuck,
            budget=self._job.order.policy.budget,
            hands=means.crew.hands(self._place(), choice.threads),
            threads=choice.threads,
            fixed_ms=means.traits.fixed_ms,
            splits_before=splits_before,
            between=between,
        )
        try:
            with courier:
                if choice.strategy is Strategy.MIGRATE_PAGES:
                    migrate_whole(means.host, state, self._plan.routes, self._guard, between)
                elif choice.strategy is Strategy.VERIFY_AND_FINISH:
                    wait_for_kernel(means.host, state, self._leg.sources, between)
                self._passes(courier)
        except Cancelled as cancelled:
            state.last = None
            return str(cancelled)
        return None

    def _passes(self, courier: Courier) -> None:
        ledger = self._state.ledger
        for _ in range(PASSES_MAX):
            before_bytes = ledger.moved_bytes
            ledger.begin_pass()
            courier.send(self._plan.quest.runs(self._state.views, ledger))
            residency = self._state.look(self._means.host)
            ledger.cells = dict(residency.cells)
            if ledger.moved_bytes == before_bytes or not self.unfinished(residency):
                break

    def unfinished(self, residency: Residency) -> bool:
        """Whether more than a little is left that could still go."""
        return self._plan.quest.worth_another(self._state.ledger, residency)

    def close(self, residency: Residency, *, whole: bool) -> None:
        """Settle the account of this leg by a measurement after its last call; ``whole`` if it did not end early."""
        ledger = self._state.ledger
        ledger.close_leg(self._plan.quest.away_bytes(ledger, residency), whole=whole)

    def _place(self) -> Place:
        by_id = self._job.topology.by_id
        near = frozenset(cpu for node in self._plan.targets if node in by_id for cpu in by_id[node].cpus)
        return place(self._means.traits, self._job.task.threads, self._job.task.cpus, near)
