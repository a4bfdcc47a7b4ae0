"""Which way to bring a task's pages home, from what this kernel was seen to do, and why, in words for the account.

- `move_pages` in batches is the rule: it stalls the job least, can be paced, cancelled and spread over targets.
- `migrate_pages` takes a whole process in one call. Where the kernel holds the mmap lock for all of that call, the job
  stalls as long, but with base pages it is several times faster: for a job whose policy allows that stall.
- In a cpuset that is ours, mems are widened, the pages moved, and mems narrowed: the kernel then moves next to nothing
  in its unpaced way, and new pages follow.
- After a write to cpuset.mems the kernel has moved the pages itself: what it left is found and finished.
"""

from dataclasses import dataclass
from typing import NamedTuple

from numaplace.model.ids import Cpus, Nodes
from numaplace.model.move import Strategy
from numaplace.model.policy import Budget
from numaplace.model.residency import PageSize, Residency
from numaplace.model.route import Routes


@dataclass(frozen=True, slots=True)
class KernelTraits:
    """What probing found out about this kernel.

    ``migrate_holds_lock``: an mmap() waits for the whole of a `migrate_pages` call. ``migrate_bytes_per_s``: how fast
    that call is; None if never tried. ``threads_pay``: how many threads in `move_pages` are fastest. ``fixed_ms``:
    what a `move_pages` call takes that has next to nothing to move. ``base_bytes_per_s`` and ``huge_bytes_per_s``: how
    fast a single one of so many threads is with either size of page; None if never tried.
    """

    migrate_holds_lock: bool = False
    migrate_bytes_per_s: float | None = None
    threads_pay: int = 1
    fixed_ms: float = 0.0
    base_bytes_per_s: float | None = None
    huge_bytes_per_s: float | None = None

    @property
    def unmaps_one_by_one(self) -> bool:
        """Whether each page interrupts every CPU that runs the job: several threads then are in each other's way.

        Taken for true where they did not pay, and an old kernel otherwise: batches came with Linux 6.3.
        """
        return self.migrate_holds_lock and self.threads_pay == 1


@dataclass(frozen=True, slots=True)
class Situation:
    """What is to be moved, as far as it is known before: ``residency`` is None if it was never measured.

    ``sources``: the nodes whose pages are to leave for ``home``.

    ``kernel_moves``: the kernel moves pages at a write to this task's cpuset.mems. ``selective``: some pages are to
    stay by policy. ``room_bytes``: what the targets can take above the headroom.
    """

    home: Nodes
    previous_home: Nodes
    sources: Nodes
    mems: Nodes
    routes: Routes
    residency: Residency | None = None
    owns_cpuset: bool = False
    kernel_moves: bool = False
    selective: bool = False
    room_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A strategy, the reason for it, and how many threads to use in `move_pages`."""

    strategy: Strategy
    reason: str
    threads: int = 1


ANYWHERE = Cpus()
NEAR_QUEUED_MAX = 0.2
"""A call that waited for a CPU for this much of its time was in the job's way."""
BESIDE_QUEUED_MAX = 0.6
"""It may share a CPU with one of the job's threads, not with two."""
BESIDE_THREADS_MAX = 2
"""Of the job for each of its CPUs: among more the mover would hardly run."""


class Place(NamedTuple):
    """CPUs to call from, empty for any, and the share of a call that may be spent waiting for one of them."""

    cpus: Cpus = ANYWHERE
    queued_share_max: float = 1.0


def place(kernel: KernelTraits, threads: int, cpus: Cpus, near: Cpus) -> Place:
    """Where to call from, for a job of so many threads on these CPUs whose pages go to the memory near those.

    Where the kernel unmaps page by page, each page interrupts every CPU that runs the job and waits for it: all but the
    one that the mover itself has taken, so it goes among the job's own. Elsewhere the CPUs nearest to the pages' new
    place are best, unless the job has threads enough to fill them.
    """
    if kernel.unmaps_one_by_one and threads <= BESIDE_THREADS_MAX * len(cpus):
        return Place(cpus, BESIDE_QUEUED_MAX)
    return Place(near, NEAR_QUEUED_MAX) if threads < len(near) else Place()


STALL_MARGIN = 1.5
"""A predicted stall is taken this much longer: the probe's pages were fresh and nobody else was moving."""


def threads_for(kernel: KernelTraits, budget: Budget) -> int:
    """How many threads to move pages with: a move that is to be slow needs one."""
    return 1 if budget.pace_bytes_per_s is not None else kernel.threads_pay


def choose(kernel: KernelTraits, situation: Situation, budget: Budget) -> Choice:
    """The strategy for one order."""
    threads = threads_for(kernel, budget)
    if situation.owns_cpuset and situation.mems != situation.home:
        return Choice(Strategy.CPUSET_HANDOVER, "the cpuset is ours: its mems go along with the pages", threads)
    if situation.kernel_moves and situation.mems == situation.home and situation.previous_home != situation.home:
        reason = "cpuset.mems is home already, so the kernel moved the pages itself; what it left is finished"
        return Choice(Strategy.VERIFY_AND_FINISH, reason, threads)
    whole = _whole_process(kernel, situation, budget)
    if whole is not None:
        return Choice(Strategy.MIGRATE_PAGES, whole, 1)
    return Choice(Strategy.MOVE_PAGES, _why_batches(kernel, situation, threads), threads)


def _whole_process(kernel: KernelTraits, situation: Situation, budget: Budget) -> str | None:
    """The reason for migrate_pages, or None against it."""
    residency, rate = situation.residency, kernel.migrate_bytes_per_s
    if not kernel.migrate_holds_lock or rate is None or residency is None:
        return None
    if budget.pace_bytes_per_s is not None or situation.selective or _several_targets(situation.routes):
        return None
    away = residency.bytes_on(situation.sources)
    if situation.room_bytes is not None and away > situation.room_bytes:
        return None
    if 2 * _huge_on(residency, situation.sources) > away:
        return None
    stall_ms = 1000 * STALL_MARGIN * away / rate
    if stall_ms > budget.stall_ms_max:
        return None
    return (
        f"base pages, and the policy allows the {stall_ms:.0f} ms that this kernel's migrate_pages may stall the job:"
        " faster than batches here"
    )


def _several_targets(routes: Routes) -> bool:
    return any(len(shares) > 1 for shares in routes.values())


def _huge_on(residency: Residency, nodes: Nodes) -> int:
    return sum(size for cell, size in residency.cells.items() if cell.node in nodes and cell.size is not PageSize.BASE)


def _why_batches(kernel: KernelTraits, situation: Situation, threads: int) -> str:
    if _several_targets(situation.routes):
        why = "one node's pages go to several, which migrate_pages cannot do"
    elif situation.selective:
        why = "some pages are to stay, which migrate_pages cannot do"
    elif kernel.migrate_holds_lock:
        why = "migrate_pages would stall the job for the whole move on this kernel"
    else:
        why = "batches are as fast as migrate_pages here, and can be paced and cancelled"
    return f"{why}; {threads} thread{'s' if threads > 1 else ''}"
