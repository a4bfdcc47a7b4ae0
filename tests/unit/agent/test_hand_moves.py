"""Moves by hand on the fake kernel: from nodes to nodes, page by page, and foretold; to the byte."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.core.strategy import KernelTraits
from numaplace.kernel.errors import Denied, ProcessGone
from numaplace.model.hand import PickedPages, Transfer
from numaplace.model.ids import CpuId, NodeId, Nodes
from numaplace.model.job import MemoryPolicy
from numaplace.model.move import LeftReason, MoveOutcome, MoveState, Strategy
from numaplace.model.policy import Budget, Policy
from numaplace.model.residency import Backing, PageKind
from tests.fakes.kernel import BASE, HUGE, MIB, UNTOUCHED, ZERO, FakeHost, FakeNode, FakeProcess, FakeRegion
from tests.fakes.moves import SMALL, Control, job_by_hand, move_by_hand, mover_of, on


def host_of(nodes: int, mb: int = 256) -> FakeHost:
    """A host of so many equal nodes."""
    return FakeHost(FakeNode(NodeId(n), mb * MIB // BASE, frozenset({CpuId(n)})) for n in range(nodes))


def spread(host: FakeHost, *pages: int) -> FakeProcess:
    """A process with so many base pages on each node, node after node."""
    process = host.start()
    host.map(process, [node for node, count in enumerate(pages) for _ in range(count)])
    return process


def by_node(host: FakeHost, process: FakeProcess) -> dict[int, int]:
    """Base pages by node."""
    return {int(node): size // BASE for node, size in host.bytes_by_node([process]).items()}


def ended(outcome: MoveOutcome) -> tuple[MoveState, int, dict[LeftReason, int]]:
    """How a move ended, in base pages."""
    return outcome.state, outcome.moved_bytes // BASE, {r: size // BASE for r, size in outcome.left.items()}


def test_a_transfer_takes_nodes_to_nodes_and_keeps_relative_position() -> None:
    """{0,1} to {2,3}: 0 to 2 and 1 to 3, and what lies elsewhere stays."""
    host = host_of(5)
    process = spread(host, 100, 200, 0, 0, 300)
    outcome = move_by_hand(host, [process], Transfer(on(0, 1), on(2, 3)))
    assert ended(outcome) == (MoveState.COMPLETED, 300, {})
    assert by_node(host, process) == {2: 100, 3: 200, 4: 300}


def test_overlapping_sets_end_as_the_kernel_would_end_them() -> None:
    """{0,1,2} to {1,2,3}: each page goes once, to its own node's target."""
    host = host_of(4)
    process = spread(host, 100, 200, 300)
    outcome = move_by_hand(host, [process], Transfer(on(0, 1, 2), on(1, 2, 3)))
    assert ended(outcome) == (MoveState.COMPLETED, 600, {})
    assert by_node(host, process) == {1: 100, 2: 200, 3: 300}
    assert outcome.counters.host.pgmigrate_success == 600


def test_a_pair_of_equal_nodes_stays() -> None:
    """{0,1} to {0,2}: node 0 keeps its pages; {0,1} to {0,1} moves nothing and says so."""
    host = host_of(3)
    process = spread(host, 100, 200)
    assert ended(move_by_hand(host, [process], Transfer(on(0, 1), on(0, 2)))) == (MoveState.COMPLETED, 200, {})
    assert by_node(host, process) == {0: 100, 2: 200}
    outcome = move_by_hand(host, [process], Transfer(on(0, 2), on(0, 2)))
    assert ended(outcome) == (MoveState.COMPLETED, 0, {})
    assert "nothing to move" in outcome.words


def test_unequal_sets_are_spread_by_free_memory() -> None:
    """{0} to {1,2}: twice the room draws twice the pages; a source that is a target keeps its own."""
    host = host_of(3, mb=64)
    host.nodes[NodeId(1)].used_pages = 32 * MIB // BASE
    process = spread(host, 3000)
    outcome = move_by_hand(host, [process], Transfer(on(0), on(1, 2)))
    assert ended(outcome) == (MoveState.COMPLETED, 3000, {})
    assert by_node(host, process)[2] == pytest.approx(2 * by_node(host, process)[1], rel=0.2)
    kept = by_node(host, process)[1]
    move_by_hand(host, [process], Transfer(on(0, 1, 2), on(0, 1)))
    assert by_node(host, process).get(2, 0) == 0
    assert by_node(host, process)[1] >= kept


def test_a_full_target_is_not_made_up_for_by_another() -> None:
    """Relative position is what was asked for: node 2 has no room, and node 3 gets node 1's pages only."""
    host = host_of(4)
    host.nodes[NodeId(2)].used_pages = host.nodes[NodeId(2)].pages - 1100
    process = spread(host, 500, 200)
    outcome = move_by_hand(host, [process], Transfer(on(0, 1), on(2, 3)))
    state, _, left = ended(outcome)
    assert (state, set(left)) == (MoveState.PARTIAL, {LeftReason.TARGET_FULL})
    assert by_node(host, process)[3] == 200
    assert left[LeftReason.TARGET_FULL] == by_node(host, process)[0]


def test_a_target_outside_the_cpuset_gets_nothing() -> None:
    """The cpuset is never left: its pages stay with that reason, the other pair moves."""
    host = host_of(4)
    process = host.start(on(0, 1, 2))
    host.map(process, [0] * 100 + [1] * 200)
    outcome = move_by_hand(host, [process], Transfer(on(0, 1), on(2, 3)))
    assert ended(outcome) == (MoveState.PARTIAL, 100, {LeftReason.OUTSIDE_CPUSET: 200})
    assert by_node(host, process) == {1: 200, 2: 100}


def test_what_a_leg_leaves_is_not_taken_on_or_counted_by_the_next() -> None:
    """{0,1} to {1,2}: pages pinned on 1 are left there; those that come from 0 are no rest of theirs."""
    host = host_of(3)
    process = spread(host, 1000, 500)
    host.folios.pinned[process.regions[0].folios[1000:1100]] = True
    host.folios.pinned[process.regions[0].folios[:50]] = True
    mover = mover_of(host)
    outcome = move_by_hand(host, [process], Transfer(on(0, 1), on(1, 2)), mover=mover)
    assert ended(outcome) == (MoveState.PARTIAL, 1350, {LeftReason.PINNED: 150})
    assert by_node(host, process) == {0: 50, 1: 950 + 100, 2: 400}
    tried = len(process.tried)
    again = move_by_hand(host, [process], Transfer(on(0), on(1)), mover=mover)
    assert ended(again) == (MoveState.PARTIAL, 0, {LeftReason.PINNED: 50})
    assert len(process.tried) == tried
    assert mover.stuck([process.ref]) == {}, "what stays of a move by hand does not keep the task from home"


def test_cancelled_inside_a_leg_it_says_how_far_it_came() -> None:
    """The leg under way and those that were not begun are not reached; not a byte is unexplained."""
    host = host_of(3)
    process = spread(host, 20_000, 20_000)
    control = Control(cancel_when=lambda: "cancelled: by hand" if by_node(host, process).get(2, 0) > 3000 else None)
    outcome = move_by_hand(host, [process], Transfer(on(0, 1), on(1, 2)), control=control)
    state, moved, left = ended(outcome)
    assert state is MoveState.CANCELLED
    assert moved == by_node(host, process)[2] > 3000
    assert left == {LeftReason.NOT_REACHED: 40_000 - moved}
    assert "part 1 of 2, nodes 1 to 2" in outcome.words


def test_cancelled_in_a_later_leg_the_earlier_ones_are_done() -> None:
    """What the first leg moved stays moved and counts."""
    host = host_of(3)
    process = spread(host, 20_000, 500)
    control = Control(cancel_when=lambda: "cancelled" if by_node(host, process).get(1, 0) > 3000 else None)
    outcome = move_by_hand(host, [process], Transfer(on(0, 1), on(1, 2)), control=control)
    state, moved, left = ended(outcome)
    assert (state, by_node(host, process)[2]) == (MoveState.CANCELLED, 500)
    assert left == {LeftReason.NOT_REACHED: 20_500 - moved}
    assert "part 2 of 2, nodes 0 to 1" in outcome.words


def test_progress_covers_all_legs() -> None:
    """What there is to do is all of it from the start, and what has moved never shrinks."""
    host = host_of(3)
    process = spread(host, 30_000, 30_000)
    mover, control = mover_of(host), Control()
    policy = Policy(budget=Budget(pace_bytes_per_s=64 * MIB, headroom_bytes=0))
    move_by_hand(host, [process], Transfer(on(0, 1), on(1, 2)), mover=mover, control=control, policy=policy)
    assert len(control.reported) > 5
    assert {report.moved_bytes + report.todo_bytes for report in control.reported} == {60_000 * BASE}
    moved = [report.moved_bytes for report in control.reported]
    assert moved == sorted(moved)
    assert moved[-1] > 40_000 * BASE


def test_a_task_that_ends_in_a_later_leg_is_told() -> None:
    """What was not moved is gone, whatever was said of it before."""
    host = host_of(3)
    process = spread(host, 20_000, 500)
    mover = mover_of(host)
    host.clock.at(0.1, lambda: host.end(process))
    outcome = move_by_hand(host, [process], Transfer(on(0, 1), on(1, 2)), mover=mover)
    state, moved, left = ended(outcome)
    assert state is MoveState.PARTIAL
    assert left == {LeftReason.VANISHED: 20_500 - moved}


def test_huge_pages_are_transferred_whole_and_shared_ones_by_all_their_sharers_only() -> None:
    """As with a follow move: THPs by one address, and no stranger's pages."""
    host = host_of(3)
    process = host.start()
    host.map(process, [0] * 5, page_bytes=HUGE)
    shared = host.map(process, [0] * 100, backing=Backing.SHARED)
    stranger = host.start()
    host.share(stranger, shared)
    outcome = move_by_hand(host, [process], Transfer(on(0), on(2)))
    assert outcome.moved_bytes == 5 * HUGE
    assert outcome.left == {LeftReason.SHARED: 100 * BASE}
    assert outcome.counters.host.thp_migration_success == 5
    both = move_by_hand(host, [process, stranger], Transfer(on(0), on(2)))
    assert ended(both) == (MoveState.COMPLETED, 100, {})


def test_the_whole_process_call_is_chosen_for_a_transfer_as_for_a_follow_move() -> None:
    """On an old kernel, with a stall that the budget allows: one call a pair, measured afterwards."""
    host = host_of(4)
    process = spread(host, 3000, 2000, 0, 500)
    traits = KernelTraits(migrate_holds_lock=True, migrate_bytes_per_s=100 * MIB)
    policy = Policy(budget=Budget(stall_ms_max=5000, headroom_bytes=0))
    mover = mover_of(host, traits)
    transfer = Transfer(on(0, 1), on(1, 2))
    foretold = mover.predict(job_by_hand(host, [process], transfer, policy))
    outcome = move_by_hand(host, [process], transfer, mover=mover, policy=policy)
    assert ended(outcome) == (MoveState.COMPLETED, 5000, {})
    assert foretold.strategy is outcome.strategy is Strategy.MIGRATE_PAGES
    assert not host.calls
    assert by_node(host, process) == {1: 3000, 2: 2000, 3: 500}
    assert foretold.stall_ms == pytest.approx(1000 * 3000 * BASE / (100 * MIB))


@pytest.mark.parametrize("asked_max", [0, 1, 2, 5, 9, 20])
@pytest.mark.parametrize("seed", range(4))
def test_every_picked_page_has_one_answer_wherever_the_move_ends(seed: int, asked_max: int) -> None:
    """Moved, or left for one reason: also where some vanished, some were busy, and a later pass was cut short."""
    random = Random(seed)  # noqa: S311 - the same scenes each time
    count = random.randrange(1000, 2000)
    host = host_of(3)
    process = host.start()
    layout = [random.choice([0, 1, 2, UNTOUCHED, ZERO]) if random.random() < 0.3 else 0 for _ in range(count)]
    region = host.map(process, layout)
    for number in region.folios[region.folios >= 0].tolist():
        host.folios.busy[number] = random.choice([0] * 20 + [1, 2, 3])
        host.folios.pinned[number] = random.random() < 0.02
    targets = [NodeId(random.choice([1, 2])) for _ in layout]
    order = random.sample(range(count), count)
    what = PickedPages(tuple(region.region.start + BASE * at for at in order), tuple(targets[at] for at in order))
    control = Control()
    asked: list[None] = []

    def tired() -> str | None:
        asked.append(None)
        return "cancelled" if 0 < asked_max <= len(asked) else None

    control.cancel_when = tired
    state, moved, left = ended(move_by_hand(host, [process], what, control=control))
    assert moved + sum(left.values()) == sum(at != target for at, target in zip(layout, targets, strict=True))
    assert left.get(LeftReason.VANISHED, 0) <= layout.count(UNTOUCHED)
    assert (state is MoveState.CANCELLED) or LeftReason.NOT_REACHED not in left


def test_how_large_a_process_was_once_is_no_reason_for_a_stall() -> None:
    """Nobody measures it regularly: what was found at an earlier move, or look, says nothing of its size now."""
    host = host_of(2)
    process = spread(host, 1000)
    mover = mover_of(host, KernelTraits(migrate_holds_lock=True, migrate_bytes_per_s=100 * MIB))
    policy = Policy(budget=Budget(stall_ms_max=250, headroom_bytes=0))
    there, back = Transfer(on(0), on(1)), Transfer(on(1), on(0))
    assert move_by_hand(host, [process], there, mover=mover, policy=policy).strategy is Strategy.MIGRATE_PAGES
    host.map(process, [1] * 20_000)
    foretold = mover.predict(job_by_hand(host, [process], back, policy))
    outcome = move_by_hand(host, [process], back, mover=mover, policy=policy)
    assert foretold.strategy is outcome.strategy is Strategy.MOVE_PAGES
    assert ended(outcome) == (MoveState.COMPLETED, 21_000, {})


def test_kinds_and_interleaving_are_kept_as_the_policy_says() -> None:
    """The same account as of a follow move."""
    host = host_of(3)
    process = host.start()
    host.map(process, [0, 1] * 300, policy=MemoryPolicy.INTERLEAVE, policy_nodes=on(0, 1))
    host.map(process, [0] * 100, backing=Backing.FILE)
    anon = Policy(kinds=frozenset({PageKind.ANON}), budget=SMALL)
    kept = move_by_hand(host, [process], Transfer(on(0), on(1)), policy=anon)
    assert ended(kept) == (MoveState.COMPLETED, 0, {LeftReason.KEPT_BY_POLICY: 400})
    through = move_by_hand(host, [process], Transfer(on(0, 1), on(1, 2)), policy=anon)
    assert ended(through) == (MoveState.COMPLETED, 600, {LeftReason.KEPT_BY_POLICY: 100})


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (Transfer(on(0), on(7)), "no node 7; it has"),
        (Transfer(on(7), on(0)), "no node 7; it has"),
        (Transfer(on(0), on(1, 2)), "node 2 has no memory"),
        (PickedPages((1,), (NodeId(9),)), "no node 9; it has"),
        (PickedPages((-1,), (NodeId(1),)), "not an address"),
        (PickedPages((1 << 64,), (NodeId(1),)), "not an address"),
        (PickedPages((4096, 8192), (NodeId(1), NodeId(1))), "none of the 2 addresses lies in a mapping"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_moves(what: Transfer | PickedPages, words: str) -> None:
    """With the reason in words, and by a prediction in the same words."""
    host = FakeHost(FakeNode(NodeId(n), pages, frozenset({CpuId(n)})) for n, pages in enumerate((65536, 65536, 0)))
    process = spread(host, 10)
    outcome = move_by_hand(host, [process], what)
    assert outcome.state is MoveState.REFUSED
    assert words in outcome.words
    assert not host.calls
    foretold = mover_of(host).predict(job_by_hand(host, [process], what))
    assert (foretold.move_bytes, foretold.strategy, foretold.strategy_reason) == (0, None, outcome.words)


def test_picked_pages_are_those_of_one_process() -> None:
    """The same address is another page in another process."""
    host = host_of(2)
    processes = [spread(host, 10), spread(host, 10)]
    outcome = move_by_hand(host, processes, PickedPages((4096,), (NodeId(1),)))
    assert outcome.state is MoveState.REFUSED
    assert "these are 2" in outcome.words


same_size = st.integers(1, 4).flatmap(
    lambda n: st.tuples(*[st.frozensets(st.integers(0, 5).map(NodeId), min_size=n, max_size=n)] * 2)
)


@settings(max_examples=40, deadline=None)
@given(same_size, st.lists(st.integers(0, 40), min_size=6, max_size=6))
def test_a_transfer_puts_every_page_where_migrate_pages_would(sets: tuple[Nodes, Nodes], pages: list[int]) -> None:
    """The n-th source's on the n-th target, once, whatever overlaps; and so it was foretold."""
    host = host_of(6)
    process = spread(host, *pages)
    ends = dict(zip(sorted(sets[0]), sorted(sets[1]), strict=True))
    expected: dict[int, int] = {}
    for node, count in enumerate(pages):
        end = ends.get(NodeId(node), node)
        expected[end] = expected.get(end, 0) + count
    policy = Policy(budget=SMALL, keep_interleave=False)
    foretold = mover_of(host).predict(job_by_hand(host, [process], Transfer(*sets), policy))
    outcome = move_by_hand(host, [process], Transfer(*sets), policy=policy)
    assert by_node(host, process) == {node: count for node, count in expected.items() if count}
    moving = sum(pages[node] for node, end in ends.items() if node != end)
    assert outcome.counters.host.pgmigrate_success == moving
    assert outcome.moved_bytes == foretold.move_bytes == moving * BASE


# Page by page.


def address(region: FakeRegion, page: int, inside: int = 0) -> int:
    """An address in a page of a region."""
    return region.region.start + page * region.page_bytes + inside


def picked(region: FakeRegion, pages: Sequence[int], nodes: int | Sequence[int]) -> PickedPages:
    """These pages of a region, to one node or each to its own."""
    wanted = [nodes] * len(pages) if isinstance(nodes, int) else nodes
    return PickedPages(tuple(address(region, page, 7) for page in pages), tuple(map(NodeId, wanted)))


def test_only_the_picked_pages_move_each_to_its_node() -> None:
    """By any address inside them; those that are in place already are not sent."""
    host = host_of(3)
    process = host.start()
    region = host.map(process, [0] * 1000 + [1] * 10)
    what = picked(region, [*range(0, 1000, 10), 1001, 1002], [1, 2] * 50 + [1, 0])
    outcome = move_by_hand(host, [process], what)
    assert ended(outcome) == (MoveState.COMPLETED, 101, {})
    assert by_node(host, process) == {0: 901, 1: 50 + 9, 2: 50}
    assert sum(host.calls) == 101
    assert outcome.strategy is Strategy.MOVE_PAGES


def test_any_address_of_a_huge_page_stands_for_it_and_the_hottest_entry_decides() -> None:
    """Two entries for one page are one: the first in the list wins."""
    host = host_of(3)
    process = host.start()
    region = host.map(process, [0] * 4, page_bytes=HUGE)
    places = ((1, HUGE - 1), (1, 0), (3, 5 * BASE + 3), (1, 99))
    addresses = tuple(address(region, page, inside) for page, inside in places)
    outcome = move_by_hand(host, [process], PickedPages(addresses, tuple(map(NodeId, (2, 1, 1, 0)))))
    assert (outcome.state, outcome.moved_bytes) == (MoveState.COMPLETED, 2 * HUGE)
    assert host.folios.node[region.folios].tolist() == [0, 2, 0, 1]
    assert outcome.counters.host.thp_migration_split == 0


def test_what_is_not_there_is_told_by_its_reason() -> None:
    """Never touched or unmapped: vanished; the page of zeros: neither makes the move a partial one. A device's does."""
    host = host_of(2)
    process = host.start()
    region = host.map(process, [0, UNTOUCHED, ZERO, 0, UNTOUCHED])
    elsewhere = address(region, 0) - 4 * HUGE
    what = picked(region, [0, 1, 1, 2, 3, 4], 1)
    what = replace(what, addresses=(*what.addresses, elsewhere), nodes=(*what.nodes, NodeId(1)))
    outcome = move_by_hand(host, [process], what)
    assert ended(outcome) == (MoveState.COMPLETED, 2, {LeftReason.VANISHED: 3, LeftReason.ZERO_PAGE: 1})
    device = host.map(process, [0] * 3, backing=Backing.DEVICE)
    outcome = mover_of(host).move(job_by_hand(host, [process], picked(device, [0, 1], 1)), Control())
    assert ended(outcome) == (MoveState.PARTIAL, 0, {LeftReason.UNMOVABLE_MAPPING: 2})


def test_shared_pages_stay_unless_they_are_asked_for() -> None:
    """What strangers map too is moved on request only, with MOVE_ALL; without the right that is denied."""
    host = host_of(2)
    process = host.start()
    region = host.map(process, [0] * 100, backing=Backing.SHARED)
    host.fork(process)
    alone = host.map(process, [0] * 100)
    what = picked(region, range(50), 1)
    both = replace(what, addresses=(*what.addresses, address(alone, 3)), nodes=(*what.nodes, NodeId(1)))
    assert ended(move_by_hand(host, [process], both)) == (MoveState.PARTIAL, 1, {LeftReason.SHARED: 50})
    host.may_move_all = False
    refused = move_by_hand(host, [process], replace(both, shared=True))
    assert ended(refused) == (MoveState.PARTIAL, 0, {LeftReason.DENIED: 50})
    host.may_move_all = True
    assert ended(move_by_hand(host, [process], replace(both, shared=True))) == (MoveState.COMPLETED, 50, {})


def test_pinned_picked_pages_are_asked_once_and_remembered() -> None:
    """As by every other move."""
    host = host_of(2)
    process = spread(host, 100)
    region = process.regions[0]
    host.folios.pinned[region.folios[:10]] = True
    mover = mover_of(host)
    for moved in (40, 0):
        outcome = move_by_hand(host, [process], picked(region, range(50), 1), mover=mover)
        assert ended(outcome) == (MoveState.PARTIAL, moved, {LeftReason.PINNED: 10})
        assert len(process.tried) == 10


def test_busy_picked_pages_get_another_pass_and_no_others() -> None:
    """One pass where nothing was busy; else another for what was."""
    host = host_of(2)
    process = spread(host, 100)
    region = process.regions[0]
    host.folios.busy[region.folios[10:20]] = 1
    outcome = move_by_hand(host, [process], picked(region, range(50), 1))
    assert ended(outcome) == (MoveState.COMPLETED, 50, {})
    assert host.calls[-1] == 10
    host.calls.clear()
    host.folios.pinned[region.folios[60:70]] = True
    move_by_hand(host, [process], picked(region, range(50, 100), 1))
    assert sum(host.calls) == 50


def test_the_hottest_go_first() -> None:
    """A move that is cancelled has moved the beginning of the list, wherever that lies in memory."""
    host = host_of(2)
    process = spread(host, 20_000)
    region = process.regions[0]
    order = np.random.default_rng(4).permutation(20_000)
    control = Control(cancel_when=lambda: "cancelled" if by_node(host, process).get(1, 0) > 2000 else None)
    outcome = move_by_hand(host, [process], picked(region, order.tolist(), 1), control=control)
    moved = outcome.moved_bytes // BASE
    assert (outcome.state, outcome.left) == (
        MoveState.CANCELLED,
        {LeftReason.NOT_REACHED: (20_000 - moved) * BASE},
    )
    gone = host.folios.node[region.folios[order]] == 1
    assert gone[:moved].all()
    assert 2000 < moved < 20_000


def test_picked_pages_obey_cpuset_kinds_and_headroom() -> None:
    """Outside the cpuset, not wanted by kind, no room: each stays with its reason."""
    host = host_of(3)
    process = host.start(on(0, 1))
    region = host.map(process, [0] * 100)
    file = host.map(process, [0] * 100, backing=Backing.FILE)
    what = PickedPages((address(region, 1), address(region, 2), address(file, 3)), (NodeId(2), NodeId(1), NodeId(1)))
    outcome = move_by_hand(host, [process], what, policy=Policy(kinds=frozenset({PageKind.ANON}), budget=SMALL))
    assert ended(outcome) == (MoveState.PARTIAL, 1, {LeftReason.OUTSIDE_CPUSET: 1, LeftReason.KEPT_BY_POLICY: 1})
    full = Policy(budget=Budget(headroom_bytes=256 * MIB))
    assert ended(move_by_hand(host, [process], picked(region, range(10), 1), policy=full)) == (
        MoveState.PARTIAL,
        0,
        {LeftReason.TARGET_FULL: 9},
    )


# Foretold.


def check_foretold(host: FakeHost, process: FakeProcess, what: Transfer | PickedPages, policy: Policy) -> None:
    """A prediction touches nothing, and the move then does what it said, to the byte."""
    mover, job = mover_of(host), job_by_hand(host, [process], what, policy)
    before = host.bytes_by_node([process])
    host.calls.clear()
    foretold = mover.predict(job)
    assert (host.bytes_by_node([process]), host.calls) == (before, [])
    outcome = mover.move(job, Control())
    assert (foretold.move_bytes, dict(foretold.left)) == (outcome.moved_bytes, dict(outcome.left))
    assert (foretold.strategy, foretold.strategy_reason) == (outcome.strategy, outcome.strategy_reason)
    assert foretold.seconds > 0


def test_a_prediction_says_what_the_move_then_does() -> None:
    """Through legs, with huge pages, shared ones, others outside the cpuset, and a target that runs full."""
    host = host_of(4)
    host.nodes[NodeId(2)].used_pages = host.nodes[NodeId(2)].pages - 1024 - 700
    process = host.start(on(0, 1, 2))
    host.map(process, [0] * 400 + [1] * 900 + [2] * 50)
    host.map(process, [0] * 3, page_bytes=HUGE)
    host.share(host.start(), host.map(process, [0] * 100, backing=Backing.SHARED))
    check_foretold(host, process, Transfer(on(0, 1, 2), on(1, 2, 3)), Policy(budget=SMALL))


def test_a_leg_gives_the_next_one_its_room() -> None:
    """Node 1 is full until its own pages have left it: so it is in the prediction."""
    host = host_of(3, mb=64)
    process = spread(host, 5000, 8000)
    host.nodes[NodeId(1)].used_pages = host.nodes[NodeId(1)].pages - 8000 - 1024 - 100
    check_foretold(host, process, Transfer(on(0, 1), on(1, 2)), Policy(budget=SMALL))


def test_picked_pages_are_foretold_too() -> None:
    """With those that are not there, in place, shared, and the hottest of two entries."""
    host = host_of(3)
    process = host.start()
    host.map(process, [0] * 3, page_bytes=HUGE)
    region = host.map(process, [0] * 100 + [1] * 10 + [UNTOUCHED, ZERO])
    host.share(host.start(), region)
    huge = process.regions[0]
    addresses = [address(huge, 0, 5 * BASE), address(huge, 0), *(address(region, page) for page in range(112))]
    what = PickedPages(tuple(addresses), (NodeId(2), *[NodeId(1)] * 113))
    check_foretold(host, process, what, Policy(budget=SMALL))
    check_foretold(host, process, replace(what, shared=True), Policy(budget=SMALL))


def test_seconds_are_learned_from_earlier_moves() -> None:
    """The probe is a first guess; what the calls of a move took is a better one."""
    host = host_of(2)
    process = spread(host, 20_000)
    mover = mover_of(host, KernelTraits(base_bytes_per_s=1e12))
    job, back = (job_by_hand(host, [process], Transfer(on(a), on(b))) for a, b in ((0, 1), (1, 0)))
    guessed = mover.predict(job).seconds
    outcome = mover.move(job, Control())
    assert guessed < outcome.seconds / 10
    foretold = mover.predict(back)
    assert foretold.seconds == pytest.approx(outcome.seconds, rel=0.3)
    assert foretold.stall_ms == pytest.approx(outcome.stall_ms_max, rel=0.5)


def test_a_limit_of_bytes_a_second_is_foretold() -> None:
    """A paced move takes as long as its pace says."""
    host = host_of(2)
    process = spread(host, 10_000)
    policy = Policy(budget=Budget(pace_bytes_per_s=10_000 * BASE // 4, headroom_bytes=0))
    foretold = mover_of(host).predict(job_by_hand(host, [process], Transfer(on(0), on(1)), policy))
    assert foretold.seconds == pytest.approx(4, rel=0.1)


def test_who_cannot_be_looked_at_cannot_be_foretold() -> None:
    """Gone, or not ours."""
    host = host_of(2)
    process = spread(host, 10)
    job = job_by_hand(host, [process], Transfer(on(0), on(1)))
    process.denied = True
    with pytest.raises(Denied):
        mover_of(host).predict(job)
    host.end(process)
    with pytest.raises(ProcessGone):
        mover_of(host).predict(job)


def test_what_is_no_more_the_users_is_left_alone() -> None:
    """Under way and before: a set-user-id program that the process executes is not the user's to look into."""
    host = host_of(2)
    process = spread(host, 10_000)
    process.uid = 1000
    asked = job_by_hand(host, [process], Transfer(on(0), on(1)))
    job = replace(asked, task=replace(asked.task, uid=1000))

    def executes() -> str | None:
        process.uid = 0 if by_node(host, process).get(1) else 1000
        return None

    outcome = mover_of(host).move(job, Control(cancel_when=executes))
    assert 0 < outcome.moved_bytes < 10_000 * BASE
    assert outcome.state is MoveState.PARTIAL
    assert sum(outcome.left.values()) + outcome.moved_bytes == 10_000 * BASE
    moved = by_node(host, process)
    with pytest.raises(ProcessGone):
        mover_of(host).predict(job)
    assert not mover_of(host).move(job, Control()).moved_bytes
    assert by_node(host, process) == moved


def test_nothing_to_move_is_foretold_as_such() -> None:
    """The words are those of the move."""
    host = host_of(2)
    foretold = mover_of(host).predict(job_by_hand(host, [spread(host, 10)], Transfer(on(0), on(0))))
    assert (foretold.move_bytes, foretold.strategy) == (0, None)
    assert "nothing to move" in foretold.strategy_reason
