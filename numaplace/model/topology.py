"""A host's nodes, CPUs and distances, and the one definition of *home*: the nodes local to the CPUs a task may use.

Node ids may have gaps, nodes may lack CPUs (CXL, HBM) or memory, and distances may be asymmetric.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from numaplace.model.ids import CpuId, Cpus, NodeId, Nodes

LOCAL_DISTANCE = 10
"""ACPI SLIT: the distance of a node to itself."""
REMOTE_DISTANCE = 20
"""What the kernel assumes between two nodes when the firmware says nothing."""


@dataclass(frozen=True, slots=True)
class Node:
    """One NUMA node. ``memory_bytes`` is zero for a node with CPUs only; ``cpus`` is empty for a memory-only node."""

    id: NodeId
    cpus: Cpus
    memory_bytes: int
    distances: Mapping[NodeId, int]

    def distance_to(self, other: NodeId) -> int:
        """Distance from this node's CPUs to the other's memory, in SLIT units (10 is local)."""
        return self.distances.get(other, LOCAL_DISTANCE if other == self.id else REMOTE_DISTANCE)


@dataclass(frozen=True)
class Topology:
    """The nodes of one host, ascending by id. Raises ValueError if two nodes share an id or a CPU."""

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        ids = [node.id for node in self.nodes]
        if ids != sorted(set(ids)):
            raise ValueError(f"nodes must be distinct and ascending: {ids}")
        cpus = [cpu for node in self.nodes for cpu in node.cpus]
        if len(cpus) != len(set(cpus)):
            raise ValueError("a CPU belongs to one node only")

    @cached_property
    def by_id(self) -> Mapping[NodeId, Node]:
        """The nodes by their id."""
        return {node.id: node for node in self.nodes}

    @cached_property
    def _node_of_cpu(self) -> Mapping[CpuId, Node]:
        return {cpu: node for node in self.nodes for cpu in node.cpus}

    @cached_property
    def with_memory(self) -> Nodes:
        """The nodes that have memory."""
        return frozenset(node.id for node in self.nodes if node.memory_bytes > 0)

    @cached_property
    def memory_of_cpu(self) -> Mapping[CpuId, NodeId]:
        """The node with memory that is nearest to each known CPU, the lowest of several; none where there is none."""
        nearest = {cpu: self.home_of(frozenset({cpu})) for cpu in self._node_of_cpu}
        return {cpu: min(nodes) for cpu, nodes in nearest.items() if nodes}

    def distance(self, source: NodeId, target: NodeId) -> int:
        """Distance between two nodes in SLIT units; a node unknown to the host counts as remote."""
        node = self.by_id.get(source)
        if node is None:
            return LOCAL_DISTANCE if source == target else REMOTE_DISTANCE
        return node.distance_to(target)

    def home_of(self, cpus: Cpus) -> Nodes:
        """The nodes whose memory is nearest to these CPUs.

        A CPU's own node if it has memory, else the nearest nodes that do (all of them on a tie). CPUs that are
        offline or unknown add nothing; the result is empty if none is known.
        """
        home: set[NodeId] = set()
        for node in {self._node_of_cpu[cpu].id for cpu in cpus if cpu in self._node_of_cpu}:
            home.update({node} if node in self.with_memory else self._nearest_memory(node))
        return frozenset(home)

    def _nearest_memory(self, node: NodeId) -> Nodes:
        distances = {other: self.distance(node, other) for other in self.with_memory}
        nearest = min(distances.values(), default=0)
        return frozenset(other for other, distance in distances.items() if distance == nearest)
