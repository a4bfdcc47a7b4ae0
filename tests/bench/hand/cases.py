"""What is measured by hand, on which kernels, with which bounds. Pure.

A case has its figures before it is measured: one that fails is a miss, and never left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from tests.bench.follow.cases import MB, Mover, Pages, home_bounds, mmap_bounds, touch_bounds
from tests.bench.follow.cases import Case as FollowCase
from tests.bench.groups import Settings
from tests.bench.records import AtMost, AtMostTimes, Bound, Record

GROUP = "hand"
KERNELS = ("6.12", "6.1")
BARE = "bare call from C"
WRITE = "bare write"
NUMASTAT = "numastat -p"
CALL_TIMES_MAX = 1.1
REMOTE_SHARE_MAX = 0.05
IMPORT_MS_MAX = 20.0


class Kind(Enum):
    """What is done; the value is its name."""

    CALL = "mempolicy.move_pages"
    MOVE = "move 4 KB"
    MOVE_THP = "move THP"
    HANDOVER = "cpuset hand-over"
    PROFILE = "profiled array"
    IMPORT = "import"
    SHOW = "show"


NATIVE = frozenset({Kind.IMPORT, Kind.SHOW})
"""On this host itself: one node is enough, and emulated times would tell nothing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the table, before it is measured."""

    name: str
    unit: str
    bounds: tuple[Bound, ...] = ()


HOME, ALONE = "command → 95 % home", "the move alone"
MMAP, TOUCH = "longest mmap() of the job", "longest page touch of the job"
CALL, REMOTE = "seconds of the call", "remote accesses, after / before"
IMPORT, SHOW = "CPU time of the import", "seconds of a look"


@dataclass(frozen=True, slots=True)
class Case:
    """One kind on one kernel; on this host if there is none."""

    kind: Kind
    kernel: str = ""

    @property
    def name(self) -> str:
        """``6.12 move THP``."""
        return f"{self.kernel or 'native:'} {self.kind.value}"

    @property
    def pages(self) -> Pages:
        """The job's pages."""
        return Pages.THP if self.kind is Kind.MOVE_THP else Pages.BASE

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The lines that it gives."""
        match self.kind:
            case Kind.CALL:
                return (Figure(CALL, "s", (AtMostTimes(CALL_TIMES_MAX, BARE),)),)
            case Kind.MOVE | Kind.MOVE_THP:
                times = home_bounds(self.kernel, FollowCase(self.name, self.pages))
                stalls = (Figure(MMAP, "ms", mmap_bounds(self.kernel)), Figure(TOUCH, "ms", touch_bounds()))
                return (Figure(HOME, "s", times), Figure(ALONE, "s", times), *stalls)
            case Kind.HANDOVER:
                no_more = (AtMostTimes(1.0, WRITE),)
                return (Figure(HOME, "s"), Figure(MMAP, "ms", no_more), Figure(TOUCH, "ms", no_more))
            case Kind.PROFILE:
                return (Figure(REMOTE, "", (AtMost(REMOTE_SHARE_MAX),)),)
            case Kind.IMPORT:
                return (Figure(IMPORT, "ms", (AtMost(IMPORT_MS_MAX),)),)
            case Kind.SHOW:
                no_more = (AtMostTimes(1.0, NUMASTAT),)
                return tuple(Figure(name, unit, no_more) for name, unit in ((SHOW, "s"), (MMAP, "ms"), (TOUCH, "ms")))

    def records(self, values: Mapping[str, Mapping[str, float | None]]) -> list[Record]:
        """Its records: for each figure the values by who did it, ours under OURS; without ours a miss."""
        made = []
        for figure in self.figures:
            found = dict(values.get(figure.name, {}))
            ours = found.pop(OURS, None)
            made.append(Record(GROUP, figure.name, self.name, figure.unit, ours, found, figure.bounds))
        return made


OURS = Mover.OURS.value


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done: the job's size, repetitions, pages of a call, and the size of a process that is shown."""

    size_mb: int = MB
    repeat: int = 3
    pages: int = 100_000
    shown_mb: int = 2048
    profile_s: float = 10.0


def effort(settings: Settings) -> Effort:
    """Full, or a look at whether all works."""
    made = Effort(size_mb=96, repeat=1, pages=10_000, shown_mb=256, profile_s=5.0) if settings.quick else Effort()
    return made if settings.repeat is None else replace(made, repeat=settings.repeat)


def chosen(settings: Settings) -> tuple[Case, ...]:
    """The cases that were asked for: kernel by kernel, then on this host."""
    guests = [
        Case(kind, kernel) for kernel in KERNELS if settings.wants_kernel(kernel) for kind in Kind if kind not in NATIVE
    ]
    native = [Case(kind) for kind in Kind if kind in NATIVE]
    return tuple(case for case in (*guests, *native) if settings.wants_case(case.name))
