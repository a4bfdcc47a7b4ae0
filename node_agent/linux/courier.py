"""Carries runs of pages to their nodes: cut to the pace, some calls at a time, accounted page by page.

The thread that walks the task is the only one that writes the account. It hands calls to the crew, a few more than are
made at once, and makes the next batch ready while they are in the kernel. Between calls it asks whether
the move was cancelled, and pauses in slices so that it hears of it.

What a call left untried (it ended early, or the target ran dry) is sent again before the rest of its run, but only so
often: pages that are never tried are busy, and the next pass may find them free.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import numpy as np

from node_agent.core.accounting import Ledger, reason_of
from node_agent.core.batches import Verdict
from node_agent.core.facts import ProcessRef, TaskFacts
from node_agent.core.pace import LISTEN_S, Signals, first_pace, heard, next_pace, stall_ms_of
from node_agent.core.pages import KINDS, Mask, Run
from node_agent.linux.calls import Answer
from node_agent.linux.crew import Hands
from node_agent.linux.memory import HostMemory, ProcessMemory, lost_shares
from node_agent.linux.pins import StuckPages
from node_agent.linux.room import RoomGuard
from numaplace.model.ids import NodeId
from numaplace.model.move import LeftReason
from numaplace.model.policy import Budget
from numaplace.model.residency import Cell, PageSize

SLICE_S = 0.02
"""A pause is slept in slices of this length."""
FEEL_S = 0.25
"""How often the job is asked what it feels: reading that costs more than a small batch."""
AHEAD_MAX = 2
"""So many calls wait for a thread: finding the next pages takes as long as some calls, and nobody should idle."""
RESENDS_MAX = 8
"""A run whose call ended early is sent again for the pages that were never tried, so often at most."""


class Cancelled(Exception):  # noqa: N818 - not an error: the order ended early
    """The move is to end; the message says why."""


@dataclass(slots=True)
class Spent:
    """What moved in calls of one size of page, and the time that they took, each for itself."""

    moved_bytes: int = 0
    call_ms: float = 0.0


@dataclass(slots=True)
class Tally:
    """What the calls of a move came to, through all of its legs."""

    calls: int = 0
    call_ms_max: float = 0.0
    stall_ms_max: float = 0.0
    first_page_s: float | None = None
    split_seen: bool = False
    gone: set[ProcessRef] = field(default_factory=set)
    base: Spent = field(default_factory=Spent)
    huge: Spent = field(default_factory=Spent)


class Courier:
    """Sends runs until all are moved or explained. A context manager: no call of it outlives it."""

    def __init__(
        self,
        host: HostMemory,
        task: TaskFacts,
        *,
        memories: Mapping[ProcessRef, ProcessMemory],
        ledger: Ledger,
        tally: Tally,
        guard: RoomGuard,
        stuck: StuckPages,
        budget: Budget,
        hands: Hands,
        threads: int,
        fixed_ms: float,
        splits_before: int,
        between: Callable[[], str | None],
    ) -> None:
        """``between`` is called between calls: it reports progress and returns the reason to end early, or None.

        ``ledger`` and ``tally`` are those of the whole move, of which this may be one leg.

        ``threads``: how many calls ``hands`` make at once; ``fixed_ms``: what a call takes without any pages;
        ``splits_before``: huge pages split on this host until now.
        """
        self._host, self._task, self._memories = host, task, memories
        self._ledger, self._guard, self._stuck = ledger, guard, stuck
        self._budget, self._hands, self._between = budget, hands, between
        # Under a limit calls are spaced apart: none waits for another.
        ahead = AHEAD_MAX if budget.pace_bytes_per_s is None else 0
        self._calls_max, self._splits_before, self._next_start_s = threads + ahead, splits_before, 0.0
        self._fixed_ms = fixed_ms
        self.tally = tally
        self._pace = first_pace(budget.pace_bytes_per_s, host.base_bytes)
        self._felt = host.felt(task)
        self._todo: deque[tuple[Run, int]] = deque()
        self._flying: dict[Future[Answer], int] = {}

    def __enter__(self) -> Self:
        """Nothing is sent yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Call back those that wait for a thread, wait for those in the kernel, and only then account for them."""
        running = [future for future in self._flying if not future.cancel()]
        self._flying.clear()
        wait(running)
        for future in running:
            if future.exception() is None:
                self._account(future.result())
        failed = [failure for future in running if (failure := future.exception()) is not None]
        if failed and error is None:
            raise failed[0]

    def send(self, runs: Iterable[Run]) -> None:
        """Send all runs and wait for their answers; raises Cancelled between calls."""
        for run in runs:
            self._todo.append((run, 0))
            self._work_off()
        while self._flying:
            self._collect()
            self._work_off()

    def _work_off(self) -> None:
        """Send what there is to send, batch by batch."""
        while self._todo:
            run, resends = self._todo.popleft()
            batch, rest = self._cut(run)
            self._put_back(rest, resends)
            self._pause()
            placed, over = self._place(batch)
            self._put_back(over, resends)
            if placed is not None:
                self._launch(placed, resends)

    def _put_back(self, run: Run | None, resends: int) -> None:
        if run is not None:
            self._todo.appendleft((run, resends))

    def _place(self, run: Run) -> tuple[Run | None, Run | None]:
        """The part of a batch that has room somewhere among the targets, and the rest of it; what has none stays."""
        if run.process not in self._memories or run.process in self.tally.gone:
            self._leave_all(run, LeftReason.VANISHED)
            return None, None
        target, pages, reason = self._guard.place(run)
        if target is None:
            self._leave_all(run, reason)
            return None, None
        run = replace(run, target=target)
        if pages >= len(run.pages):
            return run, None
        return _part(run, slice(None, pages)), _part(run, slice(pages, None))

    def _cut(self, run: Run) -> tuple[Run, Run | None]:
        """The first batch of a run, in even parts: a last call of a few pages would cost like a full one."""
        small = run.size is PageSize.BASE
        limit = self._pace.base_pages * self._host.base_bytes if small else self._pace.huge_pages * self._huge(run)
        parts = -(-run.bytes // limit)
        if parts <= 1 or len(run.pages) <= 1:
            return run, None
        at = run.pages.fitting(-(-run.bytes // parts)) or 1
        if at >= len(run.pages):
            return run, None
        return _part(run, slice(None, at)), _part(run, slice(at, None))

    def _huge(self, run: Run) -> int:
        return int(run.pages.sizes.max(initial=self._host.base_bytes))

    def _launch(self, run: Run, resends: int) -> None:
        """Send one batch as soon as there may be one more under way, and as the limit of bytes a second allows."""
        while len(self._flying) >= self._calls_max:
            self._collect()
        if self._budget.pace_bytes_per_s is not None:
            self._wait(self._next_start_s - self._host.now_s())
            earliest_s = max(self._host.now_s(), self._next_start_s)
            self._next_start_s = earliest_s + run.bytes / self._budget.pace_bytes_per_s
        self._guard.spend(run)
        self._flying[self._hands.call(self._memories[run.process], run)] = resends
        if any(future.done() for future in self._flying):
            self._collect()

    def _collect(self) -> None:
        """Take in at least one answer; pages that were never tried are to be sent again."""
        while not (done := wait(self._flying, SLICE_S, FIRST_COMPLETED).done):
            self._ask()
        for future in done:
            resends = self._flying.pop(future)
            again = self._account(future.result())
            if again is None or resends < RESENDS_MAX:
                self._put_back(again, resends + 1)
            else:
                self._leave_all(again, LeftReason.BUSY)

    def _pause(self) -> None:
        self._ask()
        if self._pace.listen:
            self._listen()
        self._wait(self._pace.pause_s)
        self._pace = replace(self._pace, pause_s=0.0)

    def _wait(self, seconds: float) -> None:
        until = self._host.now_s() + seconds
        while (rest := until - self._host.now_s()) > 0:
            self._host.sleep_s(min(SLICE_S, rest))
            self._ask()

    def _listen(self) -> None:
        """Do nothing for a moment, and hear what the job feels without us."""
        while self._flying:
            self._collect()
        before = self._host.felt(self._task)
        self._wait(LISTEN_S)
        self._felt = self._host.felt(self._task)
        self._pace = heard(self._pace, *lost_shares(before, self._felt))

    def _ask(self) -> None:
        reason = self._between()
        if reason is not None:
            raise Cancelled(reason)

    def _account(self, answer: Answer) -> Run | None:
        """Book an answer; returns the pages to be sent again, or None."""
        run, tally = answer.run, self.tally
        if answer.gone:
            tally.gone.add(run.process)
        tally.calls += 1
        tally.call_ms_max = max(tally.call_ms_max, answer.call_ms)
        pages_ms = max(0.0, answer.call_ms - self._fixed_ms)
        stall_ms = stall_ms_of(pages_ms, run.bytes // self._together(run), huge=run.size is not PageSize.BASE)
        tally.stall_ms_max = max(tally.stall_ms_max, stall_ms)
        moved = answer.verdicts == Verdict.MOVED
        if moved.any() and tally.first_page_s is None:
            tally.first_page_s = answer.ended_s
        before_bytes = self._ledger.moved_bytes
        self._book_moved(run, moved)
        spent = tally.base if run.size is PageSize.BASE else tally.huge
        spent.moved_bytes += self._ledger.moved_bytes - before_bytes
        spent.call_ms += answer.call_ms
        self._see_splits(run)
        self._adapt(pages_ms, answer)
        return self._book_left(answer)

    def _together(self, run: Run) -> int:
        return self._host.base_bytes if run.size is PageSize.BASE else self._huge(run)

    def _book_moved(self, run: Run, moved: Mask) -> None:
        codes = (run.pages.nodes[moved].astype(np.int64) + 1) * len(KINDS) + run.pages.kinds[moved]
        sums = np.bincount(codes, weights=run.pages.sizes[moved])
        for code in np.flatnonzero(sums):
            node, kind = NodeId(int(code) // len(KINDS) - 1), KINDS[int(code) % len(KINDS)]
            self._ledger.move(Cell(node, run.size, kind), Cell(run.target, run.size, kind), int(sums[code]))

    def _book_left(self, answer: Answer) -> Run | None:
        run = answer.run
        if not answer.verdicts.any():
            # All of them MOVED, which is nought.
            return None
        for verdict in (Verdict.REFUSED, Verdict.BUSY, Verdict.SHARED, Verdict.GONE, Verdict.FULL, Verdict.UNMOVABLE):
            self._leave(run, answer.verdicts == verdict, verdict)
        untried = answer.verdicts == Verdict.UNTRIED
        if not untried.any():
            return None
        again = _part(run, untried)
        if answer.stop is None:
            return again
        if answer.stop is LeftReason.TARGET_FULL and run.size is not PageSize.HUGETLB:
            self._guard.run_dry(run.target)
            return again
        pool = answer.stop is LeftReason.TARGET_FULL
        self._leave_all(again, LeftReason.HUGETLB_POOL if pool else answer.stop)
        return None

    def _leave(self, run: Run, mask: Mask, verdict: Verdict) -> None:
        if not mask.any():
            return
        pages = run.pages.where(mask)
        for code, kind in enumerate(KINDS):
            mine = pages.kinds == code
            reason = reason_of(verdict, kind, run.size)
            if reason is None or not mine.any():
                continue
            self._ledger.leave(reason, pages.where(mine).bytes)
            if reason is LeftReason.PINNED:
                self._stuck.remember(run.process, pages.where(mine), self._host.now_s())

    def _leave_all(self, run: Run, reason: LeftReason) -> None:
        self._ledger.leave(reason, run.bytes)

    def _see_splits(self, run: Run) -> None:
        if run.size is PageSize.THP and self._host.counters().thp_migration_split > self._splits_before:
            self.tally.split_seen = True
            self._guard.saw_split()

    def _adapt(self, pages_ms: float, answer: Answer) -> None:
        pressure, delay = self._feel()
        huge = answer.run.size is not PageSize.BASE
        call_s = answer.ended_s - answer.began_s
        signals = Signals(pages_ms, call_s, answer.run.bytes, pressure, delay, huge)
        limit = self._budget.pace_bytes_per_s
        self._pace = next_pace(self._pace, signals, self._budget.stall_ms_max, limit, self._host.base_bytes)

    def _feel(self) -> tuple[float | None, float | None]:
        """The shares of the last while that the job lost; None if it was too short a while."""
        if self._host.now_s() - self._felt.at_s < FEEL_S:
            return None, None
        before, self._felt = self._felt, self._host.felt(self._task)
        return lost_shares(before, self._felt)


def _part(run: Run, part: "slice | Mask") -> Run:
    return replace(run, pages=run.pages.where(part))
