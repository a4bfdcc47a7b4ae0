"""Home is where the memory nearest to the CPUs is, whatever the shape of the host."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.model.ids import CpuId, NodeId
from numaplace.model.topology import LOCAL_DISTANCE, REMOTE_DISTANCE, Node, Topology
from tests import strategies

GIB = 1 << 30


def node(number: int, cpus: set[int], memory_bytes: int = GIB, **distances: int) -> Node:
    """A node; ``d3=21`` is the distance to node 3."""
    return Node(
        NodeId(number),
        frozenset(map(CpuId, cpus)),
        memory_bytes,
        {NodeId(int(name[1:])): far for name, far in distances.items()},
    )


def home(topology: Topology, *cpus: int) -> set[int]:
    """The home of a task on these CPUs."""
    return set(topology.home_of(frozenset(map(CpuId, cpus))))


@given(strategies.topologies(), strategies.cpu_sets)
def test_home_is_the_nearest_memory_of_each_cpu(topology: Topology, cpus: frozenset[CpuId]) -> None:
    """By brute force: of each known CPU, its own node if it has memory, else the nearest that have."""
    expected = set()
    for cpu in cpus:
        for own in topology.nodes:
            if cpu in own.cpus:
                far = {n.id: own.distance_to(n.id) for n in topology.nodes if n.memory_bytes}
                least = [n for n, d in far.items() if d == min(far.values())]
                expected.update([own.id] if own.memory_bytes else least)
    assert topology.home_of(cpus) == expected


@given(strategies.topologies(), strategies.cpu_sets, strategies.cpu_sets)
def test_the_home_of_more_cpus_is_the_homes_together(
    topology: Topology, some: frozenset[CpuId], others: frozenset[CpuId]
) -> None:
    """Widening never loses a home node; every home node has memory."""
    both = topology.home_of(some | others)
    assert both == topology.home_of(some) | topology.home_of(others)
    assert both <= topology.with_memory


def test_a_host_with_gaps_and_special_nodes() -> None:
    """Node ids are keys, a memory-only node is nobody's home while CPUs have memory of their own."""
    host = Topology((node(0, {0, 1}), node(3, {4, 5}), node(8, set())))
    assert home(host, 0) == {0}
    assert home(host, 5) == {3}
    assert home(host, 1, 4) == {0, 3}
    assert home(host) == home(host, 99) == set()
    assert home(host, 0, 99) == {0}


def test_cpus_without_memory_take_the_nearest_in_their_own_direction() -> None:
    """Distances may differ by direction: the one from the CPUs to the memory counts."""
    host = Topology((node(0, {0}, d2=40), node(1, {1}, d2=12), node(2, {2}, 0, d0=15, d1=30)))
    assert home(host, 2) == {0}


def test_cpus_between_two_memories_are_at_home_in_both() -> None:
    """A tie has no winner by number."""
    host = Topology((node(0, {0}), node(1, {1}), node(2, {2}, 0)))
    assert home(host, 2) == {0, 1}
    assert home(Topology((node(0, {0}, 0),)), 0) == set()


def test_distances_that_the_firmware_left_out() -> None:
    """As the kernel: 10 to itself, 20 to all others; also for a node that the host does not have."""
    host = Topology((node(0, {0}), node(1, {1}, d0=31)))
    assert host.distance(NodeId(0), NodeId(0)) == LOCAL_DISTANCE
    assert host.distance(NodeId(0), NodeId(1)) == REMOTE_DISTANCE
    assert host.distance(NodeId(1), NodeId(0)) == 31
    assert host.distance(NodeId(7), NodeId(7)) == LOCAL_DISTANCE
    assert host.distance(NodeId(7), NodeId(0)) == REMOTE_DISTANCE


@pytest.mark.parametrize("nodes", [(node(1, set()), node(0, set())), (node(0, set()), node(0, set()))])
def test_nodes_are_distinct_and_ascending(nodes: tuple[Node, ...]) -> None:
    """Two orders of the same host would be two values."""
    with pytest.raises(ValueError, match="distinct and ascending"):
        Topology(nodes)


def test_a_cpu_has_one_node() -> None:
    """Else its home would depend on the order of nodes."""
    with pytest.raises(ValueError, match="one node only"):
        Topology((node(0, {1}), node(1, {1})))


@given(st.data())
def test_by_id_finds_every_node(data: st.DataObject) -> None:
    """Ids are keys, never positions."""
    host = data.draw(strategies.topologies())
    assert [host.by_id[each.id] for each in host.nodes] == list(host.nodes)


@given(strategies.topologies())
def test_a_cpus_memory_is_the_lowest_node_of_its_home(topology: Topology) -> None:
    """Every known CPU has one where any node has memory; others have none."""
    cpus = {cpu for each in topology.nodes for cpu in each.cpus}
    homes = {cpu: topology.home_of(frozenset({cpu})) for cpu in cpus}
    assert topology.memory_of_cpu == {cpu: min(nodes) for cpu, nodes in homes.items() if nodes}
