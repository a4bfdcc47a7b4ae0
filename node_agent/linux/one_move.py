"""One order from its first page to its outcome.

The strategy's own first step (a whole-process call, the cpuset widened, or a wait for the kernel), then passes of
batches until next to nothing is left that could move, then the account. The last word on what moved has a measurement
of the task after the last call.
"""

from collections.abc import Callable, Sequence

from node_agent.core.accounting import Ledger, final_state, growth, in_words, new_pages_in_words, size
from node_agent.core.facts import Measured
from node_agent.core.strategy import Choice, KernelTraits, Place, place
from node_agent.linux.attribution import Attribution
from node_agent.linux.courier import Cancelled, Courier, Tally
from node_agent.linux.crew import Crew
from node_agent.linux.handover import Handover
from node_agent.linux.memory import HostMemory
from node_agent.linux.pins import StuckPages
from node_agent.linux.plan import Plan, make_plan
from node_agent.linux.residency import View, dominant_policy, look_again, measured_of, open_task, residency_of
from node_agent.linux.room import RoomGuard
from node_agent.linux.walk import Walk
from node_agent.ports import MoveControl, MoveJob
from numaplace.kernel.errors import KernelCallError, ProcessGone, TargetFull
from numaplace.model.ids import Nodes
from numaplace.model.move import (
    CounterAccount,
    LeftReason,
    MigrationCounters,
    MoveOutcome,
    MoveProgress,
    MoveState,
    Strategy,
)
from numaplace.model.residency import Residency

PASSES_MAX = 4
REST_BYTES = 1 << 20
REST_SHARE = 0.002
"""So little is not worth another pass: a running job always has some pages in flight."""
REPORT_S = 0.25
FIRST_REPORT_S = 0.5
"""Nothing has moved yet: the first pages come before words about them."""
KERNEL_WAIT_S = 2.0
KERNEL_LOOK_S = 0.05
MEASURE_FIRST_STALL_MS = 200.0
"""A policy that allows less stall never gets a whole-process call, so nothing need be known to choose."""


class OneMove:
    """Carries out one order; used once."""

    def __init__(
        self,
        host: HostMemory,
        stuck: StuckPages,
        job: MoveJob,
        control: MoveControl,
        *,
        traits: KernelTraits,
        known: Measured | None,
        owns_cpuset: bool,
        attribution: Attribution,
        crew: Crew,
        moved_pages: Callable[[int], None],
    ) -> None:
        """``known`` is the task as last measured; ``moved_pages`` is told how many base pages went, as they go."""
        self._host, self._stuck, self._job, self._control = host, stuck, job, control
        self._order, self._task = job.order, job.task
        self._traits, self._known = traits, known
        self._attribution, self._crew = attribution, crew
        cpuset = host.cpuset_of(job.task) if owns_cpuset else None
        self._handover = Handover(cpuset, job.order.home, job.task.mems)
        self._moved_pages = moved_pages
        nodes = sorted(job.order.home & job.topology.with_memory)
        self._guard = RoomGuard(host, nodes, job.order.policy.budget.headroom_bytes)
        self._ledger = Ledger({})
        self._views: Sequence[View] = ()
        self._todo_bytes = 0
        self._began_s = self._reported_s = host.now_s()
        self._counted_bytes = self._reported_bytes = 0
        self._stall_ms = 0.0
        self._last: Residency | None = None
        self._notes: list[str] = []

    def carry_out(self) -> tuple[MoveOutcome, Measured | None]:
        """Do it; also returns how the task was measured afterwards, None if nobody was there."""
        self._attribution.enrol()
        counters = _Counters(self._host, self._attribution)
        with open_task(self._host, self._task.processes) as (views, denied):
            self._views = views
            if not views:
                return self._nobody(counters.account(), denied=denied), None
            mems = self._handover.widen()
            self._know()
            plan = self._plan(mems)
            courier = Courier(
                self._host,
                self._task,
                memories={view.memory.ref: view.memory for view in views},
                ledger=self._ledger,
                guard=self._guard,
                stuck=self._stuck,
                budget=self._order.policy.budget,
                hands=self._crew.hands(self._place(plan.targets), plan.choice.threads),
                threads=plan.choice.threads,
                fixed_ms=self._traits.fixed_ms,
                splits_before=counters.before.thp_migration_split,
                between=self._between,
            )
            cancelled = self._run(plan, courier)
            if cancelled is not None:
                self._handover.ended_early()
            measured = self._measure(cancelled)
            if denied:
                self._notes.append("some processes are not ours to move (CAP_SYS_PTRACE)")
            return self._outcome(plan, courier.tally, measured, cancelled, counters.account()), measured

    def _run(self, plan: Plan, courier: Courier) -> str | None:
        """The strategy's first step and the passes; returns why it ended early, or None."""
        try:
            with courier:
                if plan.choice.strategy is Strategy.MIGRATE_PAGES:
                    self._migrate_whole(plan, courier.tally)
                elif plan.choice.strategy is Strategy.VERIFY_AND_FINISH:
                    self._wait_for_kernel()
                self._passes(plan, courier)
                if self._handover.wide:
                    self._narrow(plan, courier)
        except Cancelled as cancelled:
            return str(cancelled)
        return None

    def _passes(self, plan: Plan, courier: Courier) -> None:
        for _ in range(PASSES_MAX):
            before_bytes = self._ledger.moved_bytes
            residency = self._pass(plan, courier)
            if self._ledger.moved_bytes == before_bytes or not self._worth_another(residency):
                break

    def _pass(self, plan: Plan, courier: Courier) -> Residency:
        self._ledger.begin_pass()
        courier.send(Walk(self._host, self._views, plan.wish, self._ledger, self._stuck).runs())
        self._views = look_again(self._views)
        residency = residency_of(self._host, self._views)
        self._ledger.cells = dict(residency.cells)
        self._last = residency
        return residency

    def _measure(self, cancelled: str | None) -> Measured:
        """Where the pages are in the end: the last pass measured it, unless something happened since."""
        if self._last is None or cancelled is not None:
            self._views = look_again(self._views)
            self._last = residency_of(self._host, self._views)
        if self._known is not None:
            # A policy changes seldom, and reading it is dear; the next measurement on its own reads it anew.
            return Measured(self._last, self._known.memory_policy, self._known.policy_nodes)
        return Measured(self._last, *dominant_policy(self._views))

    def _worth_another(self, residency: Residency) -> bool:
        explained = sum(size for reason, size in self._ledger.left.items() if reason is not LeftReason.BUSY)
        rest = residency.remote_bytes(self._order.home) - explained
        return rest > max(REST_BYTES, REST_SHARE * residency.resident_bytes)

    def _know(self) -> None:
        """What is to be done, from the last measurement; without one only if the choice of strategy hangs on it."""
        stall_ms_max = self._order.policy.budget.stall_ms_max
        if self._known is None and self._traits.migrate_holds_lock and stall_ms_max >= MEASURE_FIRST_STALL_MS:
            self._known = measured_of(self._host, self._views)
        if self._known is not None:
            self._take_for_known(self._known.residency)
        else:
            self._todo_bytes = sum(self._resident(view) for view in self._views)

    def _take_for_known(self, residency: Residency) -> None:
        self._ledger.cells = dict(residency.cells)
        self._todo_bytes = self._ledger.moved_bytes + residency.remote_bytes(self._order.home)

    @staticmethod
    def _resident(view: View) -> int:
        try:
            return view.memory.resident_bytes()
        except ProcessGone:
            return 0

    def _plan(self, mems: Nodes) -> Plan:
        return make_plan(
            self._host,
            self._job,
            self._views,
            traits=self._traits,
            known=self._known,
            free_bytes=self._guard.free_bytes(),
            mems=mems,
            owns_cpuset=self._handover.owned,
            holds_stuck=lambda: self._stuck.knows(self._task.processes),
        )

    def _place(self, nodes: Nodes) -> Place:
        by_id = self._job.topology.by_id
        near = frozenset(cpu for node in nodes if node in by_id for cpu in by_id[node].cpus)
        return place(self._traits, self._task.threads, self._task.cpus, near)

    def _narrow(self, plan: Plan, courier: Courier) -> None:
        """Hand the cpuset over. What the kernel takes along then is not left any more, and was not moved by us."""
        before = self._last or self._pass(plan, courier)
        began_s = self._host.now_s()
        narrowed = self._handover.narrow(self._ledger.left, finished=not self._worth_another(before))
        self._stall_ms = max(self._stall_ms, 1000 * (self._host.now_s() - began_s))
        if not narrowed:
            return
        after = self._pass(plan, courier)
        taken_bytes = before.remote_bytes(self._order.home) - after.remote_bytes(self._order.home)
        if taken_bytes > 0:
            self._notes.append(f"the kernel took {size(taken_bytes)} more along as cpuset.mems was narrowed")

    def _migrate_whole(self, plan: Plan, tally: Tally) -> None:
        """migrate_pages(2), one source node and one process at a time; what it moved is measured."""
        home = self._order.home
        before = residency_of(self._host, self._views)
        for view in self._views:
            for source, (share, *_) in plan.wish.routes.items():
                if reason := self._between():
                    raise Cancelled(reason)
                began_s = self._host.now_s()
                try:
                    view.memory.migrate(source, share.target)
                except TargetFull:
                    self._guard.run_dry(share.target)
                except KernelCallError as error:
                    self._notes.append(f"migrate_pages: {error}")
                ended_s = self._host.now_s()
                tally.calls += 1
                tally.call_ms_max = max(tally.call_ms_max, 1000 * (ended_s - began_s))
                tally.first_page_s = tally.first_page_s or ended_s
        self._stall_ms = tally.call_ms_max
        after = residency_of(self._host, self._views)
        self._ledger.cells = dict(after.cells)
        self._ledger.moved_bytes += max(0, before.remote_bytes(home) - after.remote_bytes(home))

    def _wait_for_kernel(self) -> None:
        """Give way while the kernel itself is moving: until the remote bytes no longer shrink."""
        until_s = self._host.now_s() + KERNEL_WAIT_S
        remote = None
        while self._host.now_s() < until_s:
            now = residency_of(self._host, self._views).remote_bytes(self._order.home)
            if now == 0 or (remote is not None and now > remote - REST_BYTES):
                return
            remote = now
            if reason := self._between():
                raise Cancelled(reason)
            self._host.sleep_s(KERNEL_LOOK_S)

    def _between(self) -> str | None:
        """Called between calls: count, report, and hear whether to go on."""
        moved = self._ledger.moved_bytes
        if moved > self._counted_bytes:
            self._moved_pages((moved - self._counted_bytes) // self._host.base_bytes)
            self._counted_bytes = moved
        now_s = self._host.now_s()
        if now_s - self._reported_s >= (REPORT_S if moved else FIRST_REPORT_S):
            self._report(now_s)
        return self._control.cancelled()

    def _report(self, now_s: float) -> None:
        moved = self._ledger.moved_bytes
        if not self._ledger.cells:
            # Nobody had measured this task: done now, while the first pages have moved already.
            self._take_for_known(residency_of(self._host, self._views))
        pace = (moved - self._reported_bytes) / (now_s - self._reported_s)
        self._reported_s, self._reported_bytes = now_s, moved
        residency, left = self._ledger.residency(), dict(self._ledger.left)
        self._control.report(MoveProgress(self._order.id, moved, self._todo_bytes, pace, residency, left))

    def _outcome(
        self, plan: Plan, tally: Tally, measured: Measured, cancelled: str | None, account: CounterAccount
    ) -> MoveOutcome:
        self._between()
        ended = not any(view.memory.alive() for view in self._views)
        if ended:
            left = self._all_vanished()
            state = MoveState.PARTIAL
            self._notes.append("the task ended")
        else:
            remote = measured.residency.remote_bytes(self._order.home)
            left = self._ledger.final(remote, whole=cancelled is None)
            state = final_state(left, cancelled, None)
        if tally.split_seen:
            self._notes.append("the kernel split a huge page for want of a free block; no more were sent")
        words = "; ".join(
            [in_words(self._ledger.moved_bytes, left, cancelled, None), *self._notes, *self._handover.notes]
        )
        return self._said(
            plan.choice, state=state, words=words, left=left, tally=tally, measured=measured, account=account
        )

    def _said(
        self,
        choice: Choice,
        *,
        state: MoveState,
        words: str,
        left: dict[LeftReason, int],
        tally: Tally,
        measured: Measured,
        account: CounterAccount,
    ) -> MoveOutcome:
        mems = self._handover.mems()
        first_s = tally.first_page_s
        return MoveOutcome(
            move=self._order.id,
            task=self._task.id,
            state=state,
            words=words,
            strategy=choice.strategy,
            strategy_reason=choice.reason,
            moved_bytes=self._ledger.moved_bytes,
            left=left,
            seconds=self._host.now_s() - self._began_s,
            first_page_s=None if first_s is None else first_s - self._began_s,
            call_ms_max=tally.call_ms_max,
            stall_ms_max=max(tally.stall_ms_max, self._stall_ms),
            calls=tally.calls,
            counters=account,
            residency=measured.residency,
            new_pages=new_pages_in_words(measured.memory_policy, measured.policy_nodes, self._order.home, mems),
        )

    def _all_vanished(self) -> dict[LeftReason, int]:
        """The task ended: what was not moved is gone, whatever was said of it before."""
        vanished = max(self._ledger.vanished_bytes, self._todo_bytes - self._ledger.moved_bytes)
        return {LeftReason.VANISHED: vanished} if vanished > 0 else {}

    def _nobody(self, account: CounterAccount, *, denied: bool) -> MoveOutcome:
        """Nobody to move: all gone, or none of them ours to look at."""
        remote = 0 if self._known is None else self._known.residency.remote_bytes(self._order.home)
        reason = LeftReason.DENIED if denied else LeftReason.VANISHED
        words = (
            "the agent may not look at this task's memory (it needs CAP_SYS_PTRACE, and CAP_SYS_NICE to move)"
            if denied
            else "the task ended before the move began"
        )
        return MoveOutcome(
            move=self._order.id,
            task=self._task.id,
            state=MoveState.FAILED if denied else MoveState.PARTIAL,
            words=words,
            left={reason: remote} if remote else {},
            seconds=self._host.now_s() - self._began_s,
            counters=account,
        )


class _Counters:
    """The migration counters at the start of a move."""

    def __init__(self, host: HostMemory, attribution: Attribution) -> None:
        self._host, self._attribution = host, attribution
        self.before = host.counters()
        self._ours = attribution.ours()

    def account(self) -> CounterAccount:
        """Their growth since."""
        ours: MigrationCounters | None = None
        now = self._attribution.ours()
        if self._ours is not None and now is not None:
            ours = growth(self._ours, now)
        return CounterAccount(growth(self.before, self._host.counters()), ours)
