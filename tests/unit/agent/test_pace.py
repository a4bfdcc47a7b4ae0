"""The pace: grows while nobody feels it, gives way to a job that does, and keeps to limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.pace import (
    BASE_PAGES_MAX,
    BASE_PAGES_MIN,
    CALL_MS_MAX,
    DEARER,
    HUGE_PAGES_MAX,
    PAUSE_MAX_S,
    TOGETHER_PAGES,
    Pace,
    Signals,
    first_pace,
    heard,
    next_pace,
    stall_ms_of,
)

MIB = 1 << 20


def signals(call_s: float = 0.02, pressure: float | None = None) -> Signals:
    """A batch of 8 MB."""
    return Signals(1000 * call_s, call_s, 8 * MIB, pressure)


def test_unfelt_batches_grow_to_the_bounds() -> None:
    """Above 4096 base pages or eight huge ones nothing is gained."""
    pace = first_pace(None, 4096)
    for _ in range(20):
        pace = next_pace(pace, signals(), 50, None, 4096)
    assert (pace.base_pages, pace.huge_pages, pace.pause_s) == (BASE_PAGES_MAX, HUGE_PAGES_MAX, 0.0)


def after(*calls: tuple[int, float], stall_ms_max: float = 50) -> Pace:
    """The pace after calls of so many pages and seconds."""
    pace = Pace()
    for pages, call_s in calls:
        pace = next_pace(pace, Signals(1000 * call_s, call_s, pages * 4096), stall_ms_max, None, 4096)
    return pace


def played(page_ms: float, fixed_ms: float, stall_ms_max: float, calls: int = 60, outlier: int = -1) -> list[int]:
    """How many pages each call takes on a kernel where pages and calls cost so much; one call may be slow by chance."""
    pace, taken = Pace(), []
    for number in range(calls):
        pages = pace.base_pages
        taken.append(pages)
        pages_ms = pages * page_ms * (30 if number == outlier else 1)
        pace = next_pace(pace, Signals(pages_ms, (fixed_ms + pages_ms) / 1000, pages * 4096), stall_ms_max, None, 4096)
    return taken


@given(
    page_ms=st.floats(0.001, 2.0),
    fixed_ms=st.floats(0, 100),
    stall_ms_max=st.floats(5, 500),
    outlier=st.integers(0, 20),
)
def test_the_limit_of_a_stall_is_kept_but_for_the_first_calls(
    page_ms: float, fixed_ms: float, stall_ms_max: float, outlier: int
) -> None:
    """Whatever pages and calls cost: no touch waits for more pages than fit into the limit, or for the fewest sent."""
    for pages in played(page_ms, fixed_ms, stall_ms_max, outlier=outlier)[2:]:
        assert stall_ms_of(pages * page_ms, pages, huge=False) <= stall_ms_max * DEARER or pages == BASE_PAGES_MIN


@given(page_ms=st.floats(0.001, 0.09), fixed_ms=st.floats(0, 100), outlier=st.integers(0, 20))
def test_one_slow_call_does_not_keep_batches_small(page_ms: float, fixed_ms: float, outlier: int) -> None:
    """Where pages fit the limit many times over calls are long, whatever a call costs, and after a chance delay too."""
    taken = played(page_ms, fixed_ms, 50, outlier=outlier)
    assert all(pages >= min(BASE_PAGES_MAX, CALL_MS_MAX / page_ms) - 1 for pages in taken[outlier + 8 :])


def test_only_batches_below_512_pages_help_against_a_stall_and_as_many_as_fit_are_sent() -> None:
    """A batch of 512 pages stalls a touch as long as one of 4096: the limit is kept by what fits into it."""
    assert played(0.08, 20, stall_ms_max=50)[-1] == BASE_PAGES_MAX
    assert played(0.08, 20, stall_ms_max=10)[-1] == 125
    assert played(0.08, 20, stall_ms_max=0.1)[-1] == BASE_PAGES_MIN


def test_long_calls_shrink_but_not_below_512_pages() -> None:
    """A move is cancelled between calls; below 512 pages the total time doubles."""
    assert after(*[(2048, 1.6)] * 8, stall_ms_max=5000).base_pages == TOGETHER_PAGES


def test_a_stall_is_that_of_the_pages_taken_together() -> None:
    """512 base pages or one huge page wait together, whatever the length of the call."""
    assert stall_ms_of(80, 4096, huge=False) == 10
    assert stall_ms_of(80, 256, huge=False) == 80
    assert stall_ms_of(80, 8, huge=True) == 10


def test_pressure_is_listened_to_before_it_is_believed() -> None:
    """The first time a job suffers, the mover falls silent; what it hears then is not its own doing."""
    pace = next_pace(Pace(), signals(pressure=0.5), 50, None, 4096)
    assert pace.listen
    calm = heard(pace, 0.5, None)
    assert not calm.listen
    assert next_pace(calm, signals(pressure=0.5), 50, None, 4096).pause_s == 0


def test_a_job_that_suffers_from_us_gets_pauses_and_loses_them_when_calm() -> None:
    """Multiplicative back-off up to a bound, and back."""
    pace = heard(Pace(), 0.0, None)
    for _ in range(12):
        pace = next_pace(pace, signals(pressure=0.5), 50, None, 4096)
    assert pace.pause_s == PAUSE_MAX_S
    assert pace.base_pages == TOGETHER_PAGES
    for _ in range(12):
        pace = next_pace(pace, signals(pressure=0.0), 50, None, 4096)
    assert pace.pause_s == 0
    assert pace.base_pages == BASE_PAGES_MAX


def test_no_news_keeps_the_back_off() -> None:
    """Most batches are too short to ask the job: that is not a calm one."""
    pace = next_pace(heard(Pace(), 0.0, None), signals(pressure=0.5), 50, None, 4096)
    assert next_pace(pace, signals(), 50, None, 4096).backoff_s == pace.backoff_s > 0


@pytest.mark.parametrize("limit", [MIB, 64 * MIB])
def test_no_batch_is_more_than_a_quarter_of_a_second_of_a_limit(limit: int) -> None:
    """From the first one on."""
    pace = first_pace(limit, 4096)
    for _ in range(20):
        assert pace.base_pages * 4096 <= limit // 4
        pace = next_pace(pace, Signals(1, 0.001, pace.base_pages * 4096), 50, limit, 4096)
