"""The choice of strategy: from what the kernel was seen to do, the job's pages and its budget."""

from dataclasses import replace

import pytest

from node_agent.core.strategy import ANYWHERE, KernelTraits, Situation, choose, place
from numaplace.model.ids import CpuId, Cpus, NodeId, Nodes
from numaplace.model.move import Strategy
from numaplace.model.policy import Budget
from numaplace.model.residency import Cell, PageKind, PageSize, Residency
from numaplace.model.route import Routes, Share

MIB = 1 << 20
OLD, NEW = frozenset({NodeId(0)}), frozenset({NodeId(1)})
OLD_KERNEL = KernelTraits(migrate_holds_lock=True, migrate_bytes_per_s=200 * MIB)
NEW_KERNEL = KernelTraits(migrate_bytes_per_s=200 * MIB, threads_pay=4)
STRAIGHT: Routes = {NodeId(0): (Share(NodeId(1), 1.0),)}
PATIENT = Budget(stall_ms_max=2000)


def situation(
    size: PageSize = PageSize.BASE,
    *,
    mems: Nodes = OLD | NEW,
    routes: Routes = STRAIGHT,
    owns_cpuset: bool = False,
    kernel_moves: bool = False,
    selective: bool = False,
    room_bytes: int | None = None,
) -> Situation:
    """A job of 100 MB on node 0 whose home is node 1."""
    residency = Residency({Cell(NodeId(0), size, PageKind.ANON): 100 * MIB})
    return Situation(NEW, OLD, OLD, mems, routes, residency, owns_cpuset, kernel_moves, selective, room_bytes)


def test_batches_by_several_threads_on_a_new_kernel() -> None:
    """Where migrate_pages holds no lock, batches are as fast, and several threads pay."""
    choice = choose(NEW_KERNEL, situation(), PATIENT)
    assert (choice.strategy, choice.threads) == (Strategy.MOVE_PAGES, 4)


def test_a_limit_of_bytes_needs_one_thread() -> None:
    """A move that is to be slow needs no crew."""
    assert choose(NEW_KERNEL, situation(), Budget(pace_bytes_per_s=MIB)).threads == 1


def test_the_whole_process_if_the_policy_allows_the_stall() -> None:
    """100 MB at 200 MB/s stall for half a second, three quarters with the margin."""
    assert choose(OLD_KERNEL, situation(), PATIENT).strategy is Strategy.MIGRATE_PAGES
    assert choose(OLD_KERNEL, situation(), Budget(stall_ms_max=760)).strategy is Strategy.MIGRATE_PAGES
    assert choose(OLD_KERNEL, situation(), Budget(stall_ms_max=740)).strategy is Strategy.MOVE_PAGES


@pytest.mark.parametrize(
    "against",
    [
        situation(PageSize.THP),
        situation(selective=True),
        situation(room_bytes=99 * MIB),
        situation(routes={NodeId(0): (Share(NodeId(1), 0.5), Share(NodeId(2), 0.5))}),
    ],
    ids=["huge pages", "some stay", "no room", "several targets"],
)
def test_what_speaks_against_the_whole_process(against: Situation) -> None:
    """Huge pages are faster in batches; a choice of pages, a room check and a spread need batches."""
    choice = choose(OLD_KERNEL, against, PATIENT)
    assert choice.strategy is Strategy.MOVE_PAGES
    assert choice.reason


def test_our_cpuset_is_handed_over_and_a_foreign_one_verified() -> None:
    """A cpuset that is ours goes along; where the kernel moved the pages itself the rest is finished."""
    assert choose(NEW_KERNEL, situation(owns_cpuset=True), PATIENT).strategy is Strategy.CPUSET_HANDOVER
    moved = situation(mems=NEW, kernel_moves=True)
    assert choose(NEW_KERNEL, moved, PATIENT).strategy is Strategy.VERIFY_AND_FINISH


TWO, FOUR = frozenset({CpuId(2), CpuId(3)}), frozenset(CpuId(cpu) for cpu in range(4))


@pytest.mark.parametrize(
    ("kernel", "threads", "where"),
    [
        (OLD_KERNEL, 2, TWO),
        (OLD_KERNEL, 4, TWO),
        (OLD_KERNEL, 5, ANYWHERE),
        (replace(OLD_KERNEL, threads_pay=4), 2, FOUR),
        (NEW_KERNEL, 2, FOUR),
        (NEW_KERNEL, 4, ANYWHERE),
    ],
)
def test_pages_are_moved_from_where_it_costs_least(kernel: KernelTraits, threads: int, where: Cpus) -> None:
    """Among the job where each page interrupts it, else near the new place; never where its threads fill the CPUs."""
    found = place(kernel, threads, TWO, FOUR)
    assert found.cpus == where
    assert (found.queued_share_max < 1) == bool(where)
