"""Routes keep relative position where it means something, and never send a page away from home."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.model.ids import NodeId, Nodes
from numaplace.model.route import Leg, Routes, leg_home, legs_across, routes_of
from numaplace.model.topology import Node, Topology
from tests import strategies

near = st.frozensets(st.integers(0, 7).map(NodeId), max_size=6)
free = st.dictionaries(st.integers(0, 7).map(NodeId), st.integers(-1, 1 << 44))


def plan(previous: set[int], home: set[int], holding: set[int], free_bytes: dict[int, int] | None = None) -> Routes:
    """Routes on a host of eight equal nodes."""
    host = Topology(
        tuple(Node(NodeId(n), frozenset(), 1, {NodeId(o): 10 + abs(n - o) for o in range(8)}) for n in range(8))
    )
    room = {NodeId(n): size for n, size in (free_bytes or {}).items()}
    return routes_of(leg_home(_nodes(previous), _nodes(home), _nodes(holding)), host, room)


def _nodes(numbers: set[int]) -> Nodes:
    return frozenset(map(NodeId, numbers))


def targets(routes: Routes) -> dict[int, list[int]]:
    """Only where pages go."""
    return {source: [share.target for share in shares] for source, shares in routes.items()}


@given(near, near, near, strategies.topologies(), free)
def test_every_remote_node_with_pages_is_routed_home_and_nothing_else(
    previous: Nodes, home: Nodes, holding: Nodes, topology: Topology, room: dict[NodeId, int]
) -> None:
    """Pages at home stay; all others go to home nodes, in parts that add up to one; no home, no routes."""
    routes = routes_of(leg_home(previous, home, holding), topology, room)
    assert set(routes) == (holding - home if home else set())
    for shares in routes.values():
        assert {share.target for share in shares} <= home
        assert len({share.target for share in shares}) == len(shares)
        assert all(0 < share.weight <= 1 for share in shares)
        assert sum(share.weight for share in shares) == pytest.approx(1)


@given(near, near, strategies.topologies(), free)
def test_as_many_gained_as_left_are_paired_in_order(
    previous: Nodes, home: Nodes, topology: Topology, room: dict[NodeId, int]
) -> None:
    """The n-th node left goes wholly to the n-th node gained, whatever is free where."""
    left, gained = sorted(previous - home), sorted(home - previous)
    if len(left) == len(gained):
        routes = routes_of(leg_home(previous, home, previous), topology, room)
        assert targets(routes) == {source: [target] for source, target in zip(left, gained, strict=True)}


def test_the_example_of_the_page_migration_document() -> None:
    """Nodes {0,1} to {2,3}: node 0's pages to node 2, node 1's to node 3."""
    assert targets(plan({0, 1}, {2, 3}, {0, 1})) == {0: [2], 1: [3]}


def test_a_node_that_stays_home_keeps_its_pages() -> None:
    """{0,1} to {1,2}: only node 0 is left, and its pages take its place in node 2."""
    assert targets(plan({0, 1}, {1, 2}, {0, 1})) == {0: [2]}


def test_pages_of_an_earlier_home_are_spread() -> None:
    """A node that is neither the previous nor the present home has no position to keep."""
    assert targets(plan({0}, {1}, {0, 5})) == {0: [1], 5: [1]}


def test_unequal_sets_are_spread_by_free_memory_and_distance() -> None:
    """Twice the free memory draws twice the pages, twice the distance half of them; a full node draws none."""
    routes = plan({0}, {2, 3}, {0}, {2: 1200, 3: 2600})
    shares = {share.target: share.weight for share in routes[NodeId(0)]}
    assert shares == {2: pytest.approx(100 / 300), 3: pytest.approx(200 / 300)}
    assert targets(plan({0}, {2, 3}, {0}, {2: 0, 3: 1})) == {0: [3]}


def test_with_nothing_free_anywhere_the_parts_are_equal() -> None:
    """The kernel will say that the target is full; the plan does not guess."""
    assert [share.weight for share in plan({0}, {2, 3}, {0})[NodeId(0)]] == [0.5, 0.5]


def kernel_pairs(sources: Nodes, targets: Nodes) -> dict[NodeId, NodeId]:
    """Where `migrate_pages` takes what lies on each source: `node_remap` of mm/mempolicy.c, for sets of one size."""
    return dict(zip(sorted(sources), sorted(targets), strict=True))


def walked(legs: tuple[Leg, ...], node: NodeId) -> NodeId:
    """Where pages of a node are after all legs, each of whose sources has one target."""
    for leg in legs:
        node = leg.pairs[node] if node in leg.sources else node
    return node


same_size = st.integers(1, 8).flatmap(
    lambda n: st.tuples(
        *[st.frozensets(st.integers(0, 15).map(NodeId), min_size=n, max_size=n)] * 2,
    )
)


@given(same_size)
def test_legs_of_equal_sets_end_where_the_kernel_would_put_each_page(sets: tuple[Nodes, Nodes]) -> None:
    """Leg by leg every source's pages arrive at its own target, and are never taken on by a later leg."""
    sources, targets = sets
    legs = legs_across(sources, targets)
    pairs = kernel_pairs(sources, targets)
    assert {node: walked(legs, node) for node in sources} == pairs
    moving = [node for leg in legs for node in leg.sources]
    assert sorted(moving) == sorted(node for node, target in pairs.items() if node != target)
    assert all(leg.exact and set(leg.pairs) == leg.sources for leg in legs)


@given(near, near)
def test_no_target_of_a_leg_is_a_pending_source(sources: Nodes, targets: Nodes) -> None:
    """Whatever the sets: what a leg brings somewhere no leg from then on takes away."""
    legs = legs_across(sources, targets)
    for number, leg in enumerate(legs):
        pending = {node for later in legs[number:] for node in later.sources}
        assert leg.sources
        assert not leg.targets & pending


def test_overlapping_sets_go_in_legs() -> None:
    """{0,1} to {1,2}: 1 to 2 first, then 0 to 1."""
    pairs = [dict(leg.pairs) for leg in legs_across(_nodes({0, 1}), _nodes({1, 2}))]
    assert pairs == [{NodeId(1): NodeId(2)}, {NodeId(0): NodeId(1)}]


@given(near, near, strategies.topologies(), free)
def test_sets_of_unequal_size_skip_what_is_in_both_and_spread_the_rest(
    sources: Nodes, targets: Nodes, topology: Topology, room: dict[NodeId, int]
) -> None:
    """As the kernel skips sources that are targets; but what it would give to one target is spread."""
    if len(sources) == len(targets) or not targets:
        return
    legs = legs_across(sources, targets)
    assert [leg.sources for leg in legs] == ([sources - targets] if sources - targets else [])
    for leg in legs:
        for shares in routes_of(leg, topology, room).values():
            assert {share.target for share in shares} <= targets
