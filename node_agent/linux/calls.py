"""One call of `move_pages` and what came of it, page by page.

A call that returns anything but 0, or fails, may have moved a part: then the kernel is asked where every page is.
Pages that it says are absent may only be hidden from it: those that can be revealed count as never tried.
"""

from dataclasses import dataclass

import numpy as np

from node_agent.core.batches import Verdict, Verdicts, fresh_status, judge
from node_agent.core.pages import Ints, Mask, Run
from node_agent.linux.hidden import found_again
from node_agent.linux.memory import HostMemory, ProcessMemory
from numaplace.kernel.errors import Denied, KernelCallError, OutsideCpuset, ProcessGone, TargetFull
from numaplace.model.move import LeftReason


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one call did. ``stop`` is the reason why the rest of its pages need not be asked for this target."""

    run: Run
    verdicts: Verdicts
    began_s: float
    ended_s: float
    stop: LeftReason | None = None
    gone: bool = False

    @property
    def call_ms(self) -> float:
        """How long the call took."""
        return 1000 * (self.ended_s - self.began_s)


_STOPS: tuple[tuple[type[KernelCallError], LeftReason], ...] = (
    (TargetFull, LeftReason.TARGET_FULL),
    (OutsideCpuset, LeftReason.OUTSIDE_CPUSET),
    (Denied, LeftReason.DENIED),
)


def call(host: HostMemory, memory: ProcessMemory, run: Run) -> Answer:
    """Move these pages; never raises for what the kernel or the process does."""
    count = len(run.pages)
    status, nodes = fresh_status(count), np.full(count, run.target, np.int32)
    began, failed, returned = host.now_s(), None, 0
    try:
        returned = memory.move(run.pages.addresses, nodes, status, move_all=run.move_all)
    except KernelCallError as error:
        failed = error
    ended = host.now_s()
    if isinstance(failed, ProcessGone):
        return Answer(run, np.full(count, Verdict.GONE, np.int8), began, ended, gone=True)
    whole = failed is None and returned == 0
    said = status if whole else _ask(memory, run)
    if said is None:
        return Answer(run, np.full(count, Verdict.GONE, np.int8), began, ended, gone=True)
    verdicts = judge(status, run.target, None if whole else said)
    verdicts[_revealed(memory, run, said)] = Verdict.UNTRIED
    if failed is None:
        return Answer(run, verdicts, began, ended)
    # A failing call says nothing of single pages: those that stayed were stopped by what stopped the call.
    verdicts[verdicts == Verdict.REFUSED] = Verdict.UNTRIED
    return Answer(run, verdicts, began, ended, _stop_of(failed))


def _stop_of(failed: KernelCallError) -> LeftReason:
    return next((reason for kind, reason in _STOPS if isinstance(failed, kind)), LeftReason.BUSY)


def _ask(memory: ProcessMemory, run: Run) -> Ints | None:
    try:
        return memory.query(run.pages.addresses)
    except KernelCallError:
        return None


def _revealed(memory: ProcessMemory, run: Run, said: Ints) -> Mask:
    """Which of the pages that were said to be absent are there after all, and can be moved now."""
    try:
        return (said < 0) & (found_again(memory, run.pages.addresses, said) >= 0)
    except KernelCallError:
        return np.zeros(len(said), np.bool_)
