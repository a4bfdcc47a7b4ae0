"""Which pages go where: the votes decide, ties stay, the hottest go first, and a budget cuts the coldest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.model.ids import NodeId
from numaplace.pagelog import LogError, Place, Sample
from numaplace.pagelog.log import HUGE_BYTES, PageLog, count

PAGE = 4096
BASE = 1 << 40
"""Begins a huge block."""
NODES = frozenset(NodeId(node) for node in range(4))

records = st.lists(
    st.builds(
        Sample,
        line=st.just(1),
        address=st.integers(BASE, BASE + 3 * HUGE_BYTES - 1).map(lambda address: address - address % 509),
        node=st.integers(0, 3),
        cpu=st.none(),
        weight=st.integers(1, 5).map(float),
    ),
    min_size=1,
    max_size=60,
)
blocks = st.sets(st.sampled_from([BASE, BASE + HUGE_BYTES, BASE + 2 * HUGE_BYTES]))


def log_of(samples: list[Sample]) -> PageLog:
    """The log of these records."""
    return count(samples, Place(PAGE, NODES, {}))


def vote(page: int, node: int, weight: float = 1.0) -> Sample:
    """A record of a page by its number."""
    return Sample(1, BASE + page * PAGE + 7, node, None, weight)


@given(records, blocks)
def test_every_unit_is_won_tied_or_neither(samples: list[Sample], huge: set[int]) -> None:
    """Each page, or huge block, is chosen once for a node that no other outweighs, or counted as tied."""
    picking = log_of(samples).pick(huge_blocks=huge)
    weights: dict[int, dict[int, float]] = {}
    for sample in samples:
        block = sample.address - sample.address % HUGE_BYTES
        start = block if block in huge else sample.address - sample.address % PAGE
        of_unit = weights.setdefault(start, {})
        assert sample.node is not None
        of_unit[sample.node] = of_unit.get(sample.node, 0) + sample.weight
    chosen = dict(zip(picking.addresses, picking.nodes, strict=True))
    assert len(chosen) == len(picking.addresses)
    assert len(chosen) + picking.tied == len(weights)
    for start, of_unit in weights.items():
        best = [node for node, weight in of_unit.items() if weight == max(of_unit.values())]
        assert chosen.get(NodeId(start)) == (best[0] if len(best) == 1 else None)


@given(records, blocks, st.integers(0, 4 * HUGE_BYTES))
def test_a_budget_cuts_the_coldest_only(samples: list[Sample], huge: set[int], budget: int) -> None:
    """What a budget leaves is the beginning of what there is without one, within the budget, hottest first."""
    log = log_of(samples)
    everything, some = log.pick(huge_blocks=huge), log.pick(huge_blocks=huge, budget_bytes=budget)
    kept = len(some.addresses)
    assert some.addresses == everything.addresses[:kept]
    assert some.nodes == everything.nodes[:kept]
    assert some.over_budget == len(everything.addresses) - kept
    assert some.picked_bytes <= budget
    if some.over_budget:
        following = everything.addresses[kept]
        assert some.picked_bytes + (HUGE_BYTES if following in huge else PAGE) > budget


def test_the_hottest_go_first_by_weight_per_byte() -> None:
    """A huge page needs 512 times the weight of a base page to be as hot."""
    samples = [vote(0, 1, 600), vote(1, 1, 500), vote(512, 1, 2), vote(513, 0, 3), vote(514, 1)]
    picking = log_of(samples).pick(huge_blocks={BASE})
    assert picking.addresses == (BASE + 513 * PAGE, BASE, BASE + 512 * PAGE, BASE + 514 * PAGE)
    assert picking.nodes == (0, 1, 1, 1)


def test_the_votes_for_a_huge_page_are_summed_over_its_block() -> None:
    """Most base pages of the block are used from node 0, but node 1 uses it more."""
    samples = [vote(0, 0), vote(1, 0), vote(2, 1, 5)]
    assert log_of(samples).pick(huge_blocks={BASE}).nodes == (1,)
    assert log_of(samples).pick().nodes == (1, 0, 0)


def test_a_page_that_lies_where_it_should_costs_no_budget() -> None:
    """The hottest page is at home already: the budget of one page goes to the next."""
    lies_on = {BASE: NodeId(1), BASE + PAGE: NodeId(1)}
    picking = log_of([vote(0, 1, 9), vote(1, 0)]).pick(budget_bytes=PAGE, lies_on=lies_on)
    assert (picking.addresses, picking.nodes, picking.at_home) == ((BASE + PAGE,), (0,), 1)


def test_picked_pages_are_what_a_move_by_hand_takes() -> None:
    """Addresses, nodes, and whether shared ones go too; when none is left the reason is said."""
    log = log_of([vote(0, 1), vote(1, 0), vote(1, 1)])
    pages = log.picked(shared=True)
    assert (pages.addresses, pages.nodes, pages.shared) == ((BASE,), (1,), True)
    with pytest.raises(LogError, match="1 lie where they should, 1 are used alike from several nodes, 0 are beyond"):
        log.picked(lies_on={BASE: NodeId(1)})
