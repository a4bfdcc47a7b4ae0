"""What a mover must do with each kind of memory, the same on the fake kernel and on real ones.

Natively it runs on the fake. With NUMAPLACE_CONTRACT=real it runs on the host's own kernel, which needs two nodes;
tests/numa/test_memory_contract.py does that in guests.

Real jobs are Python programs: besides their memory of one kind they have some megabytes of their own, and map libraries
that strangers map too. So shares are compared with the size of the memory in question, and SHARED may always be left.
"""

import os
from collections.abc import Iterator

import pytest

from numaplace.model.hand import PickedPages, Transfer
from numaplace.model.ids import NodeId
from numaplace.model.move import LeftReason, MoveOutcome, MoveState
from numaplace.model.policy import Budget, Policy
from numaplace.model.residency import PageKind, PageSize
from tests.contract.worlds import NEW, OLD, Job, World, fake_world, real_world
from tests.fakes.kernel import BASE, HUGE, MIB
from tests.fakes.moves import Control

REAL = os.environ.get("NUMAPLACE_CONTRACT") == "real"
LIBRARIES = 24 * MIB
"""More than a Python program shares with others."""


@pytest.fixture
def world() -> Iterator[World]:
    """The world that this run is about."""
    made = real_world() if REAL else fake_world()
    yield made
    made.close()


def settled(job: Job, outcome: MoveOutcome, *reasons: LeftReason) -> None:
    """What must hold after every move: not a byte changed, and every byte away from home is explained."""
    assert job.unchanged()
    remote = outcome.residency.remote_bytes(NEW)
    explained = sum(size for reason, size in outcome.left.items() if reason is not LeftReason.VANISHED)
    # A real job touches pages while it is looked at; the fake is exact.
    assert abs(explained - remote) <= (MIB if REAL else 0)
    often = {LeftReason.SHARED, LeftReason.VANISHED, LeftReason.BUSY, LeftReason.NOT_REACHED} if REAL else set()
    unexpected = {reason: size for reason, size in outcome.left.items() if reason not in often | set(reasons)}
    assert not unexpected, f"left for other reasons than expected: {unexpected}"
    assert outcome.left.get(LeftReason.SHARED, 0) <= LIBRARIES


@pytest.mark.parametrize("kind", ["base", "locked", "file", "bound", "preferred"])
def test_it_all_moves(world: World, kind: str) -> None:
    """Base pages, locked ones, a file's, and those under a policy all move when the job alone maps them."""
    job = world.job(kind)
    outcome = world.move(job)
    settled(job, outcome)
    assert outcome.moved_bytes >= job.size_bytes
    assert outcome.left.get(LeftReason.SHARED, 0) < job.size_bytes


@pytest.mark.parametrize("kind", ["shm", "cow"])
def test_what_only_the_tasks_processes_share_moves(world: World, kind: str) -> None:
    """Shared memory, and memory that is copied on write after fork, moves with a task that has all its sharers."""
    job = world.job(kind)
    outcome = world.move(job)
    settled(job, outcome)
    assert outcome.moved_bytes >= job.size_bytes
    assert outcome.residency.by_node[NodeId(1)] >= job.size_bytes


@pytest.mark.parametrize("kind", ["shm", "cow"])
def test_what_strangers_share_stays(world: World, kind: str) -> None:
    """The same memory stays when one of its sharers is not of the task: it is as much theirs."""
    job = world.job(kind)
    order_for = job.processes[:1]
    before = world.mover.measure(order_for).residency
    outcome = world.move(_Part(job))
    assert job.unchanged()
    assert outcome.left[LeftReason.SHARED] >= job.size_bytes
    assert outcome.residency.by_node[NodeId(0)] >= job.size_bytes
    assert before.resident_bytes >= job.size_bytes


class _Part:
    """Only the first process of a job."""

    def __init__(self, job: Job) -> None:
        self.address, self.size_bytes, self.processes = job.address, job.size_bytes, job.processes[:1]
        self.unchanged, self.tried, self.end = job.unchanged, job.tried, job.end


def test_huge_pages_stay_whole(world: World) -> None:
    """THPs move as such: none is split, and as many are there afterwards."""
    job = world.job("thp", 32)
    before = world.mover.measure(job.processes).residency
    outcome = world.move(job)
    settled(job, outcome)
    assert outcome.counters.host.thp_migration_split == 0
    assert _huge(outcome.residency.cells, PageSize.THP) == _huge(before.cells, PageSize.THP) >= 32 * MIB
    assert sum(s for c, s in outcome.residency.cells.items() if c.size is PageSize.THP and c.node == 1) >= 32 * MIB


def _huge(cells: object, size: PageSize) -> int:
    assert hasattr(cells, "items")
    return sum(s for c, s in cells.items() if c.size is size)


def test_hugetlb_moves_into_the_other_pool(world: World) -> None:
    """Pages of the hugetlb pool go to a page of the target's pool."""
    job = world.job("hugetlb", 8)
    outcome = world.move(job)
    settled(job, outcome)
    moved = sum(s for c, s in outcome.residency.cells.items() if c.size is PageSize.HUGETLB and c.node == 1)
    assert moved == 8 * MIB


def test_pinned_pages_are_asked_once_and_remembered(world: World) -> None:
    """What io_uring holds stays, with that reason; the rest moves; a second move does not ask for it again."""
    job = world.job("pinned")
    outcome = world.move(job)
    settled(job, outcome, LeftReason.PINNED)
    assert outcome.left[LeftReason.PINNED] == pytest.approx(job.size_bytes // 2, rel=0.02)
    assert outcome.moved_bytes >= job.size_bytes // 2
    assert world.mover.stuck(job.processes)[LeftReason.PINNED] == outcome.left[LeftReason.PINNED]
    failed = world.host.counters().pgmigrate_fail
    again = world.move(job)
    settled(job, again, LeftReason.PINNED)
    assert again.left[LeftReason.PINNED] == outcome.left[LeftReason.PINNED]
    assert world.host.counters().pgmigrate_fail - failed <= (64 if REAL else 0)


def test_interleaved_memory_keeps_its_spread(world: World) -> None:
    """Memory that was spread on purpose stays so; the account says that it was the policy."""
    job = world.job("interleaved")
    outcome = world.move(job)
    settled(job, outcome, LeftReason.KEPT_BY_POLICY)
    assert outcome.left[LeftReason.KEPT_BY_POLICY] >= 0.9 * job.size_bytes / 2


def test_interleaved_memory_moves_if_the_policy_says_so(world: World) -> None:
    """Without keep_interleave it comes home like any other."""
    job = world.job("interleaved")
    outcome = world.move(job, Policy(budget=Budget(headroom_bytes=8 * MIB), keep_interleave=False))
    settled(job, outcome)
    assert outcome.moved_bytes >= 0.9 * job.size_bytes / 2


@pytest.mark.parametrize(("kind", "words"), [("bound", "MPOL_BIND"), ("preferred", "MPOL_PREFERRED")])
def test_a_policy_that_stays_behind_is_told(world: World, kind: str, words: str) -> None:
    """Moving changes no policy: the account says where new pages will land."""
    job = world.job(kind, 32)
    outcome = world.move(job)
    assert words in outcome.new_pages


def test_kinds_that_are_not_wanted_stay(world: World) -> None:
    """A policy for anonymous memory leaves a file's pages where they are."""
    job = world.job("file")
    policy = Policy(kinds=frozenset({PageKind.ANON}), budget=Budget(headroom_bytes=8 * MIB))
    outcome = world.move(job, policy)
    settled(job, outcome, LeftReason.KEPT_BY_POLICY)
    assert outcome.left[LeftReason.KEPT_BY_POLICY] >= job.size_bytes


def test_there_and_back_again(world: World) -> None:
    """A job that is moved and moved back is where it was, and what it was."""
    job = world.job("base")
    first = world.mover.measure(job.processes).residency
    world.move(job)
    back = world.move(job, home=OLD, previous=NEW)
    assert job.unchanged()
    assert back.residency.by_node[NodeId(0)] >= min(first.by_node[NodeId(0)], job.size_bytes)


def test_no_room_on_the_target_is_told(world: World) -> None:
    """Headroom that cannot be kept leaves the pages, with that reason."""
    job = world.job("base")
    room = world.host.rooms([NodeId(1)])[NodeId(1)].free_bytes
    outcome = world.move(job, Policy(budget=Budget(headroom_bytes=room + 64 * MIB)))
    settled(job, outcome, LeftReason.TARGET_FULL)
    assert outcome.left[LeftReason.TARGET_FULL] >= 0.9 * job.size_bytes


@pytest.mark.parametrize("kind", ["base", "thp"])
def test_a_transfer_by_hand_does_what_was_foretold(world: World, kind: str) -> None:
    """From node 0 to node 1 as said before, to the byte while the job rests; back again by a transfer of both nodes."""
    job = world.job(kind)
    there = world.by_hand(job, Transfer(OLD, NEW))
    foretold = world.mover.predict(there)
    assert world.nodes_of(job, [job.address]) == [0], "a prediction moved something"
    outcome = world.mover.move(there, Control())
    settled(job, outcome)
    assert outcome.moved_bytes >= job.size_bytes
    assert foretold.move_bytes == outcome.moved_bytes
    assert foretold.left.get(LeftReason.SHARED) == outcome.left.get(LeftReason.SHARED)
    assert foretold.strategy is outcome.strategy
    assert 0 < foretold.stall_ms <= 1000 * foretold.seconds < 1000 * 60
    same = world.mover.move(world.by_hand(job, Transfer(OLD | NEW, OLD | NEW)), Control())
    assert (same.state, same.moved_bytes) == (MoveState.COMPLETED, 0)
    back = world.mover.move(world.by_hand(job, Transfer(OLD | NEW, OLD)), Control())
    assert job.unchanged()
    assert back.residency.by_node[NodeId(0)] >= job.size_bytes


def test_only_picked_pages_move(world: World) -> None:
    """Every second page by an address inside it; the page of zeros and one never touched are told, others stay."""
    job = world.job("holes", 4)
    pages = range(job.address, job.address + job.size_bytes, BASE)
    wanted = [page + 9 for page in pages[::2]]
    behind = job.address + job.size_bytes
    addresses = (*wanted, *wanted, pages[1], behind, behind + BASE)
    nodes = (*[NodeId(1)] * len(wanted), *[NodeId(0)] * (len(wanted) + 1), NodeId(1), NodeId(1))
    by_hand = world.by_hand(job, PickedPages(addresses, nodes))
    foretold = world.mover.predict(by_hand)
    outcome = world.mover.move(by_hand, Control())
    assert job.unchanged()
    assert outcome.moved_bytes == foretold.move_bytes == len(wanted) * BASE
    assert outcome.left == foretold.left == {LeftReason.ZERO_PAGE: BASE, LeftReason.VANISHED: BASE}
    assert outcome.state is MoveState.COMPLETED
    assert world.nodes_of(job, pages) == [1, 0] * (len(pages) // 2)


def test_a_picked_address_stands_for_all_of_its_huge_page(world: World) -> None:
    """One in the middle moves it whole; of two entries for one page the first decides."""
    job = world.job("thp", 16)
    starts = range(job.address, job.address + job.size_bytes, HUGE)
    picks = [(starts[1] + HUGE // 2, 1), (starts[1], 0), (starts[3] + HUGE - 1, 1)]
    what = PickedPages(tuple(address for address, _ in picks), tuple(NodeId(node) for _, node in picks))
    outcome = world.mover.move(world.by_hand(job, what), Control())
    assert job.unchanged()
    assert (outcome.state, outcome.moved_bytes) == (MoveState.COMPLETED, 2 * HUGE)
    assert outcome.counters.host.thp_migration_split == 0
    assert world.nodes_of(job, starts) == [0, 1, 0, 1, 0, 0, 0, 0]


def test_picked_pages_that_strangers_map_move_on_request_only(world: World) -> None:
    """Of one process of two that share memory: left, or taken along with MOVE_ALL."""
    job = world.job("shm", 4)
    pages = tuple(range(job.address, job.address + job.size_bytes, BASE))
    nodes = (NodeId(1),) * len(pages)
    left = world.mover.move(world.by_hand(_Part(job), PickedPages(pages, nodes)), Control())
    assert (left.moved_bytes, dict(left.left)) == (0, {LeftReason.SHARED: job.size_bytes})
    moved = world.mover.move(world.by_hand(_Part(job), PickedPages(pages, nodes, shared=True)), Control())
    assert job.unchanged()
    assert (moved.state, moved.moved_bytes) == (MoveState.COMPLETED, job.size_bytes)


def test_addresses_of_another_process_are_refused(world: World) -> None:
    """None of them is mapped: nothing is tried, and the words say what they may be."""
    job = world.job("base", 2)
    outcome = world.mover.move(world.by_hand(job, PickedPages((BASE, 1 << 46), (NodeId(1), NodeId(1)))), Control())
    assert outcome.state is MoveState.REFUSED
    assert "another process's" in outcome.words
