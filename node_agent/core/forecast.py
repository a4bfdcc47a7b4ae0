"""How long a move would take and what its job would feel, from what calls are known to cost on this host.

Known is what the probe found out when the agent began, and better, what the calls of moves since then took. Where
neither tells, `ASSUMED_BYTES_PER_S` does. A forecast is of the right order, no more: the probe's pages were fresh, and
what else the host does then nobody knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from node_agent.core.pace import BASE_PAGES_MIN, TOGETHER_PAGES
from node_agent.core.strategy import Choice, KernelTraits
from numaplace.model.move import Strategy
from numaplace.model.policy import Budget
from numaplace.model.residency import PageSize

ASSUMED_BYTES_PER_S = float(1 << 30)
"""Of one thread, where nothing has been tried: a third of what is published for base pages (KERNEL.md)."""
LEARN_BYTES_MIN = 8 << 20
"""The calls of less say more of what a call takes than of its pages."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """Bytes a second of one thread that calls `move_pages`, by the size of page."""

    base_bytes_per_s: float = ASSUMED_BYTES_PER_S
    huge_bytes_per_s: float = ASSUMED_BYTES_PER_S


def speeds_of(kernel: KernelTraits, learned_base: float | None, learned_huge: float | None) -> Speeds:
    """The best that is known: from moves, else from the probe; huge pages are taken for no slower than others."""
    base = learned_base or kernel.base_bytes_per_s or ASSUMED_BYTES_PER_S
    return Speeds(base, learned_huge or kernel.huge_bytes_per_s or base)


def learned(before: float | None, moved_bytes: int, call_ms: float) -> float | None:
    """The speed of one thread after a move that took so many bytes in calls of so long, each for itself, in all."""
    if moved_bytes < LEARN_BYTES_MIN or call_ms <= 0:
        return before
    return 1000 * moved_bytes / call_ms


def seconds_of(
    by_size: Mapping[PageSize, int], choice: Choice, kernel: KernelTraits, speeds: Speeds, budget: Budget
) -> float:
    """How long the calls for so many bytes of each page size take, at the pace that the budget allows."""
    size_bytes = sum(by_size.values())
    if choice.strategy is Strategy.MIGRATE_PAGES and kernel.migrate_bytes_per_s:
        return size_bytes / kernel.migrate_bytes_per_s
    base_bytes = by_size.get(PageSize.BASE, 0)
    calls_s = base_bytes / speeds.base_bytes_per_s + (size_bytes - base_bytes) / speeds.huge_bytes_per_s
    seconds = calls_s / choice.threads
    if budget.pace_bytes_per_s is None:
        return seconds
    return max(seconds, size_bytes / budget.pace_bytes_per_s)


def stall_ms_of(
    by_size: Mapping[PageSize, int],
    choice: Choice,
    kernel: KernelTraits,
    speeds: Speeds,
    budget: Budget,
    *,
    page_bytes: Mapping[PageSize, int],
) -> float:
    """The longest that one touch, or mmap(), of the job would wait.

    For the whole of a call that holds the lock; else for what the kernel takes together: 512 base pages, fewer if the
    budget allows less, or one huge page. ``page_bytes``: how large a page of each size is.
    """
    size_bytes = sum(by_size.values())
    if choice.strategy is Strategy.MIGRATE_PAGES and kernel.migrate_holds_lock and kernel.migrate_bytes_per_s:
        return 1000 * size_bytes / kernel.migrate_bytes_per_s
    stalls = [0.0]
    if base_bytes := by_size.get(PageSize.BASE, 0):
        page = page_bytes[PageSize.BASE]
        page_ms = 1000 * page / speeds.base_bytes_per_s
        least_ms = max(budget.stall_ms_max, BASE_PAGES_MIN * page_ms)
        stalls.append(min(TOGETHER_PAGES * page_ms, least_ms, base_bytes / page * page_ms))
    stalls += [
        1000 * page_bytes[size] / speeds.huge_bytes_per_s
        for size, moved in by_size.items()
        if moved and size is not PageSize.BASE
    ]
    return max(stalls)
