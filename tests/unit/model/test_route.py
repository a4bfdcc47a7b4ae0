"""Routes keep relative position where it means something, and never send a page away from home."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.model.ids import NodeId, Nodes
from numaplace.model.route import Routes, plan_routes
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
    return plan_routes(_nodes(previous), _nodes(home), _nodes(holding), host, room)


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
    routes = plan_routes(previous, home, holding, topology, room)
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
        routes = plan_routes(previous, home, previous, topology, room)
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
