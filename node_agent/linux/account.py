"""The outcome of a move, put together from its ledger, its calls, the counters and the last measurement."""

from dataclasses import replace

from node_agent.core.accounting import final_state, growth, in_words, new_pages_in_words
from node_agent.core.facts import Measured
from node_agent.linux.attribution import Attribution
from node_agent.linux.memory import HostMemory
from node_agent.linux.underway import UnderWay
from node_agent.ports import MoveJob
from numaplace.model.hand import PickedPages
from numaplace.model.ids import Nodes
from numaplace.model.move import CounterAccount, LeftReason, MigrationCounters, MoveOutcome, MoveState


class Counters:
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


class Account:
    """Makes one move's outcome."""

    def __init__(self, host: HostMemory, job: MoveJob, counters: Counters, began_s: float) -> None:
        self._host, self._job, self._counters, self._began_s = host, job, counters, began_s

    def refused(self, why: str) -> MoveOutcome:
        """Nothing was tried."""
        return self._bare(MoveState.REFUSED, why, {})

    def nobody(self, away_bytes: int, *, denied: bool) -> MoveOutcome:
        """Nobody to move: all gone, or none of them ours to look at."""
        reason = LeftReason.DENIED if denied else LeftReason.VANISHED
        words = (
            "the agent may not look at this task's memory (it needs CAP_SYS_PTRACE, and CAP_SYS_NICE to move)"
            if denied
            else "the task ended before the move began"
        )
        state = MoveState.FAILED if denied else MoveState.PARTIAL
        return self._bare(state, words, {reason: away_bytes} if away_bytes else {})

    def _bare(self, state: MoveState, words: str, left: dict[LeftReason, int]) -> MoveOutcome:
        seconds, counters = self._host.now_s() - self._began_s, self._counters.account()
        order = self._job.order
        return MoveOutcome(order.id, order.task, state, words, left=left, seconds=seconds, counters=counters)

    def closed(self, state: UnderWay, measured: Measured, cancelled: str | None, mems: Nodes) -> MoveOutcome:
        """All legs are closed, or the move ended early; ``mems`` is what the task's cpuset allows now."""
        ledger, tally = state.ledger, state.tally
        if any(view.memory.alive() for view in state.views):
            left, ended = ledger.settled, final_state(ledger.settled, cancelled, None)
        else:
            left, ended = _all_vanished(state), MoveState.PARTIAL
            state.notes.append("the task ended")
        if tally.split_seen:
            state.notes.append("the kernel split a huge page for want of a free block; no more were sent")
        words = "; ".join([in_words(ledger.moved_bytes, left, cancelled, None), *state.notes])
        return replace(
            self._bare(ended, words, left),
            strategy=None if state.choice is None else state.choice.strategy,
            strategy_reason="" if state.choice is None else state.choice.reason,
            moved_bytes=ledger.moved_bytes,
            first_page_s=None if tally.first_page_s is None else tally.first_page_s - self._began_s,
            call_ms_max=tally.call_ms_max,
            stall_ms_max=max(tally.stall_ms_max, state.stall_ms),
            calls=tally.calls,
            residency=measured.residency,
            new_pages=self._new_pages(measured, mems),
        )

    def _new_pages(self, measured: Measured, mems: Nodes) -> str:
        """Where the next pages will land; of single pages that were wanted elsewhere nothing is to be said."""
        what = self._job.what
        if isinstance(what, PickedPages):
            return ""
        home = self._job.order.home if what is None else what.targets
        return new_pages_in_words(measured.memory_policy, measured.policy_nodes, home, mems)


def _all_vanished(state: UnderWay) -> dict[LeftReason, int]:
    """The task ended: what was not moved is gone, whatever was said of it before."""
    ledger = state.ledger
    seen = ledger.settled.get(LeftReason.VANISHED, 0)
    vanished = max(seen, ledger.todo_bytes - ledger.moved_bytes)
    return {LeftReason.VANISHED: vanished} if vanished > 0 else {}
