"""One order from its first page to its outcome.

The legs of the order, one after the other, and then the account. The last word on what moved has a measurement of the
task after the last call. A leg is closed before the next one begins, which may bring pages to the nodes that it left.
"""

from collections.abc import Sequence

from node_agent.core.facts import Measured
from node_agent.core.legs import NOTHING_TO_MOVE, leg_in_words, legs_of, refusal, sources_of
from node_agent.linux.account import Account, Counters
from node_agent.linux.courier import Tally
from node_agent.linux.handover import Handover
from node_agent.linux.leg_run import LegRun
from node_agent.linux.picked import nothing_mapped
from node_agent.linux.plan import known_enough
from node_agent.linux.progress import Progress
from node_agent.linux.residency import View, open_task, residency_of
from node_agent.linux.underway import Means, UnderWay
from node_agent.ports import MoveControl, MoveJob
from numaplace.kernel.errors import ProcessGone
from numaplace.model.hand import PickedPages
from numaplace.model.move import MoveOutcome
from numaplace.model.residency import Residency
from numaplace.model.route import Leg


class OneMove:
    """Carries out one order; used once."""

    def __init__(
        self, means: Means, job: MoveJob, control: MoveControl, *, known: Measured | None, owns_cpuset: bool
    ) -> None:
        """``known`` is the task as last measured; ``owns_cpuset``: whether a follow move hands its cpuset over."""
        self._means, self._host, self._job = means, means.host, job
        self._began_s = means.host.now_s()
        self._legs = legs_of(job.order, job.what, job.topology)
        self._state = UnderWay(known)
        cpuset = means.host.cpuset_of(job.task) if owns_cpuset and job.what is None else None
        self._handover = Handover(cpuset, job.order.home, job.task.mems)
        self._begun: list[LegRun] = []
        self._progress = Progress(
            means.host, job.order.id, self._state.ledger, control, moved_pages=means.moved_pages, know=self._look_first
        )

    @property
    def tally(self) -> Tally:
        """What the calls came to."""
        return self._state.tally

    def carry_out(self) -> tuple[MoveOutcome, Measured | None]:
        """Do it; also returns how the task was measured afterwards, None if nobody was there or nothing was tried."""
        self._means.attribution.enrol()
        counters = Counters(self._host, self._means.attribution)
        account = Account(self._host, self._job, counters, self._began_s)
        refused = refusal(self._job.what, self._job.task, self._job.topology)
        if refused is not None:
            return account.refused(refused), None
        with open_task(self._host, self._job.task.processes, self._job.owner) as (views, denied):
            if not views:
                return account.nobody(self._away_before(), denied=denied), None
            refused = nothing_mapped(self._job.what, views)
            if refused is not None:
                return account.refused(refused), None
            self._state.views = views
            cancelled = self._all_legs(counters)
            measured = self._state.measured(self._host)
            self._close(measured.residency, cancelled)
            self._progress.between()
            self._state.notes += self._handover.notes
            if denied:
                self._state.notes.append("some processes are not ours to move (CAP_SYS_PTRACE)")
            return account.closed(self._state, measured, cancelled, self._handover.mems()), measured

    def _all_legs(self, counters: Counters) -> str | None:
        """Go them all; returns why that ended early, or None."""
        mems = self._handover.widen()
        self._know()
        if not self._legs:
            self._state.notes.append(NOTHING_TO_MOVE)
        cancelled = None
        for leg in self._legs:
            for before in self._begun[-1:]:
                before.close(self._state.residency(self._host), whole=True)
            self._begun.append(LegRun(self._means, self._job, leg, self._state, mems=mems, handover=self._handover))
            cancelled = self._begun[-1].carry_out(self._progress.between, counters.before.thp_migration_split)
            if cancelled is not None:
                break
        return cancelled

    def _close(self, residency: Residency, cancelled: str | None) -> None:
        """Settle the last leg that was begun, and those that were not."""
        for last in self._begun[-1:]:
            last.close(residency, whole=cancelled is None)
        if cancelled is None or len(self._legs) < 2:  # noqa: PLR2004 - several
            return
        at = len(self._begun)
        self._state.notes.append(f"it ended in part {at} of {len(self._legs)}, {leg_in_words(self._legs[at - 1])}")
        self._state.ledger.close_leg(residency.bytes_on(sources_of(self._legs[at:])), whole=False)

    def _know(self) -> None:
        """What is to be done, from the last measurement; without one only if the choice of strategy hangs on it."""
        state = self._state
        state.known = known_enough(self._host, self._job, state.views, self._means.traits, state.known)
        if state.known is not None:
            self._take_for_known(state.known.residency)
        else:
            state.ledger.todo_bytes = sum(_resident(view) for view in state.views)

    def _look_first(self) -> None:
        self._take_for_known(residency_of(self._host, self._state.views))

    def _take_for_known(self, residency: Residency) -> None:
        ledger = self._state.ledger
        ledger.cells = dict(residency.cells)
        if not isinstance(self._job.what, PickedPages):
            # Of picked pages only those that are found tell.
            ledger.todo_bytes = ledger.moved_bytes + residency.bytes_on(sources_of(self._to_go()))

    def _to_go(self) -> Sequence[Leg]:
        return self._legs[max(0, len(self._begun) - 1) :]

    def _away_before(self) -> int:
        """What there was to move when it was measured last; of picked pages, which are not, nothing is known."""
        known = self._state.known
        return 0 if known is None else known.residency.bytes_on(sources_of(self._legs))


def _resident(view: View) -> int:
    try:
        return view.memory.resident_bytes()
    except ProcessGone:
        return 0
