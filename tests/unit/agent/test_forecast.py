"""Forecasts: from what calls were seen to cost, within the budget."""

import pytest

from node_agent.core.forecast import ASSUMED_BYTES_PER_S, LEARN_BYTES_MIN, learned, seconds_of, speeds_of, stall_ms_of
from node_agent.core.strategy import Choice, KernelTraits
from numaplace.model.move import Strategy
from numaplace.model.policy import Budget
from numaplace.model.residency import PageSize

MIB = 1 << 20
KERNEL = KernelTraits(
    migrate_holds_lock=True, migrate_bytes_per_s=400 * MIB, base_bytes_per_s=100 * MIB, huge_bytes_per_s=1000 * MIB
)
SIZES = {PageSize.BASE: 4096, PageSize.THP: 2 * MIB, PageSize.HUGETLB: 2 * MIB}
BATCHES = Choice(Strategy.MOVE_PAGES, "", 4)
WHOLE = Choice(Strategy.MIGRATE_PAGES, "")
BOTH = {PageSize.BASE: 200 * MIB, PageSize.THP: 1000 * MIB}


def test_moves_tell_more_than_the_probe_and_that_more_than_nothing() -> None:
    """Huge pages of which nothing is known are taken for as fast as base pages."""
    assert speeds_of(KERNEL, 50 * MIB, None).base_bytes_per_s == 50 * MIB
    assert speeds_of(KERNEL, None, None).huge_bytes_per_s == 1000 * MIB
    assert speeds_of(KernelTraits(), None, None).base_bytes_per_s == ASSUMED_BYTES_PER_S
    assert speeds_of(KernelTraits(), 50 * MIB, None).huge_bytes_per_s == 50 * MIB


def test_a_small_move_teaches_nothing() -> None:
    """Its calls cost mostly what every call costs."""
    assert learned(7.0, LEARN_BYTES_MIN - 1, 1.0) == 7.0
    assert learned(None, LEARN_BYTES_MIN, 1000.0) == LEARN_BYTES_MIN


def test_threads_share_the_calls_and_the_pace_is_kept() -> None:
    """Two seconds of base pages and one of huge ones on four threads; less than the pace allows is not faster."""
    speeds = speeds_of(KERNEL, None, None)
    assert seconds_of(BOTH, BATCHES, KERNEL, speeds, Budget()) == pytest.approx(3 / 4)
    slow = Budget(pace_bytes_per_s=100 * MIB)
    assert seconds_of(BOTH, BATCHES, KERNEL, speeds, slow) == pytest.approx(12)
    assert seconds_of(BOTH, WHOLE, KERNEL, speeds, Budget()) == pytest.approx(3)


def test_the_stall_is_what_the_kernel_takes_together() -> None:
    """512 base pages, fewer where the budget says so, or one huge page; the whole call where it holds the lock."""
    speeds = speeds_of(KERNEL, None, None)

    def stall_ms(by_size: dict[PageSize, int], choice: Choice, stall_ms_max: float = 50.0) -> float:
        budget = Budget(stall_ms_max=stall_ms_max)
        return stall_ms_of(by_size, choice, KERNEL, speeds, budget, page_bytes=SIZES)

    assert stall_ms(BOTH, BATCHES) == pytest.approx(20)
    assert stall_ms(BOTH, BATCHES, stall_ms_max=10) == pytest.approx(10)
    assert stall_ms({PageSize.BASE: MIB}, BATCHES) == pytest.approx(10)
    assert stall_ms({PageSize.THP: 4 * MIB}, BATCHES) == pytest.approx(2)
    assert stall_ms(BOTH, WHOLE) == pytest.approx(3000)
    assert stall_ms({}, BATCHES) == 0
