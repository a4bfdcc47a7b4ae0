"""From runs to records: medians over the repetitions, ours beside each rival's. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.follow.cases import (
    Case,
    Mover,
    first_page_bounds,
    home_bounds,
    mmap_bounds,
    touch_bounds,
)
from tests.bench.records import Bound, Record

GROUP = "follow"


@dataclass(frozen=True, slots=True)
class Run:
    """One change seen to its end. ``home_s`` is None if 95 % did not come home in time; ``words`` is for the log."""

    mover: Mover
    home_s: float | None
    first_page_s: float | None
    mmap_ms: float
    touch_ms: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """What is read off each run, and whose runs are told beside ours."""

    name: str
    unit: str
    value: Callable[[Run], float | None]
    movers: Sequence[Mover]


FIRST_PAGE = Figure("change → first page moved", "ms", lambda run: _ms(run.first_page_s), (Mover.OURS,))
HOME = Figure("change → 95 % home", "s", lambda run: run.home_s, tuple(Mover))
# The others' runs are of another length, and so are their longest waits.
MMAP = Figure("longest mmap() of the job", "ms", lambda run: run.mmap_ms, (Mover.OURS, Mover.MIGRATEPAGES))
TOUCH = Figure("longest page touch of the job", "ms", lambda run: run.touch_ms, (Mover.OURS, Mover.MIGRATEPAGES))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def records_of(kernel: str, case: Case, runs: Sequence[Run]) -> Iterator[Record]:
    """The figures of one case; without runs of ours they are there all the same, and missed."""
    name = f"{kernel} {case.name}"
    yield _record(FIRST_PAGE, name, runs, first_page_bounds())
    yield _record(HOME, name, runs, home_bounds(kernel, case))
    if case.judges_stall:
        yield _record(MMAP, name, runs, mmap_bounds(kernel))
        yield _record(TOUCH, name, runs, touch_bounds())


def _record(figure: Figure, case: str, runs: Sequence[Run], bounds: tuple[Bound, ...]) -> Record:
    found = {mover: [figure.value(run) for run in runs if run.mover is mover] for mover in figure.movers}
    rivals = {m.value: typical(values) for m, values in found.items() if m is not Mover.OURS and values}
    ours = found[Mover.OURS]
    return Record(GROUP, figure.name, case, figure.unit, typical(ours) if ours else None, rivals, bounds)


def typical(values: Sequence[float | None]) -> float | None:
    """The median, where never is longer than any time; at least one value."""
    ordered = median(float("inf") if value is None else value for value in values)
    return None if ordered == float("inf") else ordered
