"""The pace: grows while nobody feels it, gives way to a job that does, and keeps to limits."""

import pytest

from node_agent.core.pace import (
    BASE_PAGES_MAX,
    BASE_PAGES_MIN,
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


def signals(stall_ms: float = 5, call_s: float = 0.02, pressure: float | None = None) -> Signals:
    """A batch of 8 MB."""
    return Signals(stall_ms, call_s, 8 * MIB, pressure)


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
        signals = Signals(stall_ms_of(1000 * call_s, pages, huge=False), call_s, pages * 4096)
        pace = next_pace(pace, signals, stall_ms_max, None, 4096)
    return pace


def test_only_batches_below_512_pages_help_against_a_stall_and_as_many_as_fit_are_sent() -> None:
    """A batch of 512 pages stalls a touch as long as one of 4096: the limit is kept by what fits into it."""
    calls = [(2048, 0.16)] * 8  # 40 ms for 512 pages
    assert after(*calls, stall_ms_max=50).base_pages == BASE_PAGES_MAX
    assert after(*calls, stall_ms_max=10).base_pages == 128
    assert after(*calls, stall_ms_max=0.1).base_pages == BASE_PAGES_MIN


def test_one_slow_call_does_not_keep_batches_small() -> None:
    """What a page costs is the least that was seen: a call that was slow for other reasons is soon forgotten."""
    assert after((2048, 0.04), (2048, 2.0)).base_pages > 2048
    assert after((2048, 2.0), *[(2048, 0.04)] * 6).base_pages == BASE_PAGES_MAX


def test_a_short_call_says_little_of_what_a_page_costs() -> None:
    """Most of it is the call's fixed cost; only one that took many times the limit makes batches smaller at once."""
    assert after((512, 0.1)).base_pages > 512
    assert after((512, 0.5)).base_pages < 512


def test_small_batches_do_not_last_for_ever() -> None:
    """They seem dear for their fixed cost: what one slow call taught fades, and larger ones are tried again."""
    assert after((512, 2.0), *[(64, 0.03)] * 30).base_pages >= TOGETHER_PAGES


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
def test_a_limit_of_bytes_is_kept_by_pauses(limit: int) -> None:
    """A batch and its pause take as long as the limit says, and no batch is more than a quarter of a second of it."""
    pace = first_pace(limit, 4096)
    assert pace.base_pages * 4096 <= limit // 4
    after = next_pace(pace, Signals(1, 0.01, pace.base_pages * 4096), 50, limit, 4096)
    assert after.pause_s + 0.01 == pytest.approx(pace.base_pages * 4096 / limit)
    assert BASE_PAGES_MIN <= BASE_PAGES_MAX
