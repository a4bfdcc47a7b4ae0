"""What is done between two calls of a move: what moved is counted, where it stands is said, cancellation is heard."""

from collections.abc import Callable

from node_agent.core.accounting import Ledger
from node_agent.linux.memory import HostMemory
from node_agent.ports import MoveControl
from numaplace.model.ids import MoveId
from numaplace.model.move import MoveProgress

REPORT_S = 0.25
FIRST_REPORT_S = 0.5
"""Nothing has moved yet: the first pages come before words about them."""


class Progress:
    """One move's line to those who watch it."""

    def __init__(
        self,
        host: HostMemory,
        move: MoveId,
        ledger: Ledger,
        control: MoveControl,
        *,
        moved_pages: Callable[[int], None],
        know: Callable[[], None],
    ) -> None:
        """``moved_pages`` is told how many base pages went, as they go; ``know`` fills a ledger that knows no cells."""
        self._host, self._move, self._ledger, self._control = host, move, ledger, control
        self._moved_pages, self._know = moved_pages, know
        self._counted_bytes = self._reported_bytes = 0
        self._reported_s = host.now_s()

    def between(self) -> str | None:
        """Count, report some times a second, and hear whether to go on: the reason to end early, or None."""
        moved = self._ledger.moved_bytes
        if moved > self._counted_bytes:
            self._moved_pages((moved - self._counted_bytes) // self._host.base_bytes)
            self._counted_bytes = moved
        now_s = self._host.now_s()
        if now_s - self._reported_s >= (REPORT_S if moved else FIRST_REPORT_S):
            self._report(now_s)
        return self._control.cancelled()

    def _report(self, now_s: float) -> None:
        ledger = self._ledger
        if not ledger.cells:
            # Nobody had measured this task: done now, while the first pages have moved already.
            self._know()
        moved = ledger.moved_bytes
        pace = (moved - self._reported_bytes) / (now_s - self._reported_s)
        self._reported_s, self._reported_bytes = now_s, moved
        left = ledger.left_so_far()
        todo = max(0, ledger.todo_bytes - moved)
        self._control.report(MoveProgress(self._move, moved, todo, pace, ledger.residency(), left))
