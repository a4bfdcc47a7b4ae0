"""How fast to move: as large a batch and as short a pause as the job does not feel.

After each batch the pace looks at three things.

- What one of the job's touches can have waited for the batch. The kernel takes 512 base pages, or one huge page, off
  the page tables at a time, whatever the call's length: a longer call stalls no touch for longer. Only where 512 pages
  take longer than the limit do smaller batches help, and then as many as fit. What a page costs is learned from
  each call, less what a call takes for no page at all, which stalls nobody and would make a page of a small one dear.
- How long a call of so many pages lasts: a move is cancelled between calls only.
- What the job feels: the memory pressure of its cgroup, the run delay of its threads. Both may be of its own making
  (it has more threads than CPUs, or was just given fewer): so when they are high for the first time the mover falls
  silent for a moment and listens to what the job feels without it. Only what is above that is ours.

Growth is by steps, decrease by halves. Bounds from KERNEL.md: each moving call pays for draining every CPU's page
lists, so below 512 base pages the total time doubles and above 4096 nothing is gained; eight huge pages a call are
right. Nothing here slows a batch down once it runs, since a throttled mover holds its pages for longer: the pause
comes after.
"""

from dataclasses import dataclass, replace

BASE_PAGES_MIN = 64
BASE_PAGES_FIRST = 512
"""A move begins with a short call, so that its first pages are home soon."""
BASE_PAGES_MAX = 4096
BASE_PAGES_STEP = 1024
HUGE_PAGES_FIRST = 2
HUGE_PAGES_MAX = 8
CALL_MS_MAX = 400.0
TOGETHER_PAGES = 512
"""So many base pages the kernel unmaps at once; a touch waits for those, not for the whole call (mm/migrate.c)."""

DEARER = 1.1
"""One call makes a page at most so much dearer than was known."""
LEAST_PAGE_MS = 0.0005
"""No page costs less: what seemed to cost nothing can grow dearer from there."""

PRESSURE_SHARE_MAX = 0.1
DELAY_SHARE_MAX = 0.3
PAUSE_FIRST_S = 0.02
PAUSE_MAX_S = 0.5
LISTEN_S = 0.05
"""So long nothing is moved when the mover listens; its own calls are over by then."""
BURST_S = 0.25
"""With a limit of bytes a second no batch takes more than this much of the limit."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What one batch cost. ``pages_ms``: its pages, without what a call takes for no page at all; ``call_s``: all.

    ``pressure_share`` and ``delay_share``: the shares of the interval that the job lost to memory stalls, and that
    one of its threads on average waited for a CPU; None where unknown.
    """

    pages_ms: float
    call_s: float
    size_bytes: int
    pressure_share: float | None = None
    delay_share: float | None = None
    huge: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """The next batch and the pause before it.

    ``calm_*`` are the shares that the job loses while we do nothing, None until listened to; ``listen`` asks for that.
    ``page_ms`` is what one base page costs, None until seen.
    """

    base_pages: int = BASE_PAGES_FIRST
    huge_pages: int = HUGE_PAGES_FIRST
    pause_s: float = 0.0
    backoff_s: float = 0.0
    calm_pressure: float | None = None
    calm_delay: float | None = None
    listen: bool = False
    page_ms: float | None = None


def stall_ms_of(call_ms: float, pages: int, *, huge: bool) -> float:
    """The longest that a touch can have waited for a call: for the pages that the kernel takes together."""
    together = 1 if huge else TOGETHER_PAGES
    return call_ms * min(1.0, together / max(1, pages))


def first_pace(limit_bytes_per_s: int | None, base_bytes: int) -> Pace:
    """Where a move begins: with little, and less if the limit is low."""
    pace = Pace()
    if limit_bytes_per_s is None:
        return pace
    return _within_limit(pace, limit_bytes_per_s, base_bytes)


def heard(pace: Pace, pressure_share: float | None, delay_share: float | None) -> Pace:
    """The pace after listening to what the job feels without us."""
    return replace(pace, calm_pressure=pressure_share or 0.0, calm_delay=delay_share or 0.0, listen=False)


def _within_limit(pace: Pace, limit_bytes_per_s: int, base_bytes: int) -> Pace:
    burst = max(1, int(limit_bytes_per_s * BURST_S) // base_bytes)
    huge = max(1, burst // TOGETHER_PAGES)
    return replace(pace, base_pages=min(pace.base_pages, burst), huge_pages=min(pace.huge_pages, huge))


def next_pace(
    pace: Pace, signals: Signals, stall_ms_max: float, limit_bytes_per_s: int | None, base_bytes: int
) -> Pace:
    """The pace after a batch."""
    suffers = _suffers(pace, signals)
    if suffers and pace.calm_delay is None:
        return replace(pace, listen=True)
    if suffers:
        pace = replace(_shrunk(pace), backoff_s=min(PAUSE_MAX_S, max(PAUSE_FIRST_S, pace.backoff_s * 2)))
    elif signals.pressure_share is not None or signals.delay_share is not None:
        pace = replace(pace, backoff_s=0.0 if pace.backoff_s <= PAUSE_FIRST_S else pace.backoff_s / 2)
    pace = replace(pace, page_ms=_page_ms(pace.page_ms, signals, base_bytes))
    pace = _sized(pace, signals, stall_ms_max, suffers=suffers)
    if limit_bytes_per_s is not None:
        pace = _within_limit(pace, limit_bytes_per_s, base_bytes)
    return replace(pace, pause_s=pace.backoff_s)


def _page_ms(known: float | None, signals: Signals, base_bytes: int) -> float | None:
    """What one base page costs, after one more call: the least seen, and slowly more if it stays more.

    A call may be slow for reasons that have nothing to do with its pages (a CPU that somebody else had); the least is
    what pages cost.
    """
    pages = signals.size_bytes // base_bytes
    if signals.huge or pages == 0:
        return known
    seen = signals.pages_ms / pages
    return seen if known is None else min(seen, max(known * DEARER, LEAST_PAGE_MS))


def _sized(pace: Pace, signals: Signals, stall_ms_max: float, *, suffers: bool) -> Pace:
    """The size of the next batch: a step more, within what a call may last and what a touch may wait."""
    if not suffers:
        pace = _grown(pace)
    if signals.huge:
        # One huge page at a time waits, however many are in a call: fewer of them only pay for more calls.
        return _shrunk(pace) if 1000 * signals.call_s > CALL_MS_MAX else pace
    if not pace.page_ms:
        return pace
    fitting = max(TOGETHER_PAGES, int(CALL_MS_MAX / pace.page_ms))
    if pace.page_ms * TOGETHER_PAGES > stall_ms_max:
        fitting = max(BASE_PAGES_MIN, int(stall_ms_max / pace.page_ms))
    return replace(pace, base_pages=min(pace.base_pages, fitting))


def _suffers(pace: Pace, signals: Signals) -> bool:
    return _above(signals.pressure_share, pace.calm_pressure, PRESSURE_SHARE_MAX) or _above(
        signals.delay_share, pace.calm_delay, DELAY_SHARE_MAX
    )


def _above(share: float | None, calm: float | None, margin: float) -> bool:
    return share is not None and share - (calm or 0.0) > margin


def _shrunk(pace: Pace) -> Pace:
    floor = min(TOGETHER_PAGES, pace.base_pages)
    return replace(pace, base_pages=max(floor, pace.base_pages // 2), huge_pages=max(1, pace.huge_pages // 2))


def _grown(pace: Pace) -> Pace:
    return replace(
        pace,
        base_pages=min(BASE_PAGES_MAX, pace.base_pages + BASE_PAGES_STEP),
        huge_pages=min(HUGE_PAGES_MAX, pace.huge_pages + 1),
    )
