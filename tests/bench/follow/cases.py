"""What is run in the guests: the jobs, the rivals of each, how often, and the bounds. Pure.

Each case is a job; ours and migratepages take turns on it, so that whatever slows the machine meets both. AutoNUMA,
numad and nothing need long waits and are run less often: they are not near their bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from tests.bench.groups import Settings
from tests.bench.records import NOTHING, AtMost, AtMostTimes, Bound, RivalNever

KERNELS = ("6.12", "6.1")
REPEAT = 3
MB = 400
NEVER_S = 60.0
"""A rival that has not brought 95 % home after this long never does."""
NOTHING_S = 10.0
"""Nobody doubts it of nothing."""
FIRST_PAGE_MS_MAX = 100.0
STALL_ALLOWED_MS = 30_000.0


class Mover(Enum):
    """Who brings the pages home."""

    OURS = "numaplace"
    MIGRATEPAGES = "migratepages"
    AUTONUMA = "AutoNUMA"
    NUMAD = "numad"
    NOTHING = NOTHING


class Pages(Enum):
    """The job's pages."""

    BASE = "base"
    THP = "thp"


@dataclass(frozen=True, slots=True)
class Case:
    """A job and who is to move it.

    ``runs``: how often each other mover is seen; OURS and MIGRATEPAGES are seen as often as the caller says.
    ``never``: the rivals that never finish on this job. ``judges_stall``: whether its stalls are its mover's; with
    more threads than CPUs, or none that touches, they are not. ``stall_ms_max`` is the job's policy, None the default.
    """

    name: str
    pages: Pages = Pages.BASE
    arguments: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    kernels: tuple[str, ...] = KERNELS
    runs: Mapping[Mover, int] | None = None
    never: tuple[Mover, ...] = ()
    judges_stall: bool = False
    spares: int = 0
    """So many repetitions fewer, but at least one: a run of the group is to end in half an hour."""
    stall_ms_max: float | None = None

    def job(self, size_mb: int) -> list[str]:
        """The job's module and arguments."""
        return ["tests.jobs.hot", str(size_mb), self.pages.value, *self.arguments]


CASES = (
    Case(
        "hot 4 KB",
        runs={Mover.AUTONUMA: 2, Mover.NUMAD: 1, Mover.NOTHING: 1},
        never=(Mover.NUMAD, Mover.NOTHING),
        judges_stall=True,
    ),
    Case("hot 4 KB, stall allowed", kernels=("6.1",), stall_ms_max=STALL_ALLOWED_MS),
    Case("hot THP", Pages.THP, runs={Mover.AUTONUMA: 1}, judges_stall=True),
    Case("cold 4 KB", arguments=("--cold",), runs={Mover.AUTONUMA: 1}, never=(Mover.AUTONUMA,), spares=1),
    Case(
        "hot 4 KB, --preferred",
        prefix=("numactl", "--preferred=0"),
        runs={Mover.AUTONUMA: 1},
        never=(Mover.AUTONUMA,),
        spares=1,
    ),
    Case("hot 4 KB, 64 threads", arguments=("--threads", "64"), spares=1),
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done: the job's size, the repetitions, how long a rival may take, how long it is looked on after."""

    size_mb: int = MB
    repeat: int = REPEAT
    never_s: float = NEVER_S
    after_s: float = 1.0


def wait_s(mover: Mover, how: Effort) -> float:
    """How long a mover may take."""
    return min(NOTHING_S, how.never_s) if mover is Mover.NOTHING else how.never_s


def effort(settings: Settings) -> Effort:
    """Full, or a look at whether all works."""
    made = Effort(size_mb=96, repeat=1, never_s=6.0, after_s=0.3) if settings.quick else Effort()
    return made if settings.repeat is None else replace(made, repeat=settings.repeat)


def chosen(settings: Settings) -> tuple[tuple[str, Case], ...]:
    """The kernels and cases that were asked for, kernel by kernel."""
    return tuple(
        (kernel, case)
        for kernel in KERNELS
        if settings.wants_kernel(kernel)
        for case in CASES
        if kernel in case.kernels and settings.wants_case(case.name)
    )


def order_of_runs(case: Case, repeat: int) -> tuple[Mover, ...]:
    """Who moves, one run after the other: ours and migratepages by turns, then the others."""
    others = [mover for mover, count in (case.runs or {}).items() for _ in range(min(count, repeat))]
    return (*(Mover.OURS, Mover.MIGRATEPAGES) * max(1, repeat - case.spares), *others)


def home_bounds(kernel: str, case: Case) -> tuple[Bound, ...]:
    """Change → 95 % home."""
    bounds: list[Bound] = [AtMostTimes(_times_migratepages(kernel, case), Mover.MIGRATEPAGES.value, NEVER_S)]
    if Mover.AUTONUMA in (case.runs or {}) and Mover.AUTONUMA not in case.never:
        bounds.append(AtMostTimes(0.5, Mover.AUTONUMA.value, NEVER_S))
    return (*bounds, *(RivalNever(mover.value) for mover in case.never))


def _times_migratepages(kernel: str, case: Case) -> float:
    if case.pages is Pages.THP:
        return 0.8
    if kernel == "6.12":
        return 0.7
    return 2.5 if case.stall_ms_max is None else 1.25


def mmap_bounds(kernel: str) -> tuple[Bound, ...]:
    """The longest mmap() of the job: where migratepages holds its lock for the whole move, a twentieth of that."""
    return (AtMostTimes(0.05 if kernel == "6.1" else 1.0, Mover.MIGRATEPAGES.value),)


def touch_bounds() -> tuple[Bound, ...]:
    """The longest touch of a page."""
    return (AtMostTimes(1.0, Mover.MIGRATEPAGES.value),)


def first_page_bounds() -> tuple[Bound, ...]:
    """Change → first page moved, through the scheduler."""
    return (AtMost(FIRST_PAGE_MS_MAX),)
