"""A host on the wire: its topology, what its nodes can take, and what its agent can do."""

from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import CpuId, NodeId
from numaplace.model.job import ChangeSource
from numaplace.model.session import Abilities, HostLoad
from numaplace.model.topology import LOCAL_DISTANCE, Node, Topology
from numaplace.v1 import types_pb2 as pb
from numaplace.wire import checks
from numaplace.wire.checks import EnumTable, WireError

NODES_MAX = checks.NODE_ID_MAX + 1
DISTANCE_MAX = 65_535
"""SLIT distances are bytes; device trees may say more."""
REMARKS_MAX = 64

CHANGE_SOURCES = EnumTable(ChangeSource, pb.ChangeSource, "CHANGE_SOURCE_")


def topology_to_proto(topology: Topology) -> pb.Topology:
    """A topology as it is sent."""
    return pb.Topology(nodes=[_node_to_proto(node) for node in topology.nodes])


def _node_to_proto(node: Node) -> pb.Node:
    distances = {int(other): distance for other, distance in node.distances.items()}
    return pb.Node(id=node.id, cpus=format_id_list(node.cpus), memory_bytes=node.memory_bytes, distances=distances)


def topology_from_proto(message: pb.Topology, at: str = "topology") -> Topology:
    """A topology as it was sent; raises WireError."""
    checks.entries(message.nodes, f"{at}.nodes", NODES_MAX)
    nodes: list[Node] = []
    seen: set[CpuId] = set()
    for index, sent in enumerate(message.nodes):
        node = _node_from_proto(sent, f"{at}.nodes[{index}]")
        # Checked node by node, so that many nodes of many CPUs each are refused before they fill our memory.
        if not seen.isdisjoint(node.cpus):
            raise WireError(f"{at}.nodes[{index}].cpus", "belong to another node already")
        seen.update(node.cpus)
        nodes.append(node)
    try:
        return Topology(tuple(nodes))
    except ValueError as error:
        raise WireError(at, str(error)) from error


def _node_from_proto(message: pb.Node, at: str) -> Node:
    checks.entries(message.distances, f"{at}.distances", NODES_MAX)
    return Node(
        id=node_id(message.id, f"{at}.id"),
        cpus=checks.cpus(message.cpus, f"{at}.cpus"),
        memory_bytes=checks.size_bytes(message.memory_bytes, f"{at}.memory_bytes"),
        distances={
            node_id(other, f"{at}.distances"): checks.count(far, f"{at}.distances", LOCAL_DISTANCE, DISTANCE_MAX)
            for other, far in message.distances.items()
        },
    )


def node_id(value: int, at: str) -> NodeId:
    """A node's number; raises WireError if no kernel can have such a node."""
    return NodeId(checks.count(value, at, 0, checks.NODE_ID_MAX))


def load_to_proto(load: HostLoad) -> pb.HostLoad:
    """A load as it is sent."""
    free = {int(node): size for node, size in load.free_bytes.items()}
    return pb.HostLoad(free_bytes=free, others_pages_per_s=load.others_pages_per_s)


def load_from_proto(message: pb.HostLoad, at: str = "load") -> HostLoad:
    """A load as it was sent; raises WireError."""
    checks.entries(message.free_bytes, f"{at}.free_bytes", NODES_MAX)
    return HostLoad(
        free_bytes={
            node_id(node, f"{at}.free_bytes"): checks.size_bytes(size, f"{at}.free_bytes")
            for node, size in message.free_bytes.items()
        },
        others_pages_per_s=checks.number(message.others_pages_per_s, f"{at}.others_pages_per_s", checks.RATE_MAX),
    )


def abilities_to_proto(abilities: Abilities) -> pb.Abilities:
    """Abilities as they are sent."""
    return pb.Abilities(
        watchers=sorted(CHANGE_SOURCES.to_proto(watcher) for watcher in abilities.watchers),
        can_move=abilities.can_move,
        sees_pagemap=abilities.sees_pagemap,
        migrate_holds_lock=abilities.migrate_holds_lock,
        kernel=checks.clean(abilities.kernel, checks.NAME_CHARS_MAX),
        remarks=[checks.clean(remark) for remark in abilities.remarks[:REMARKS_MAX]],
    )


def abilities_from_proto(message: pb.Abilities, at: str = "abilities") -> Abilities:
    """Abilities as they were sent; raises WireError."""
    checks.entries(message.watchers, f"{at}.watchers", len(ChangeSource))
    checks.entries(message.remarks, f"{at}.remarks", REMARKS_MAX)
    return Abilities(
        watchers=frozenset(CHANGE_SOURCES.from_proto(sent, f"{at}.watchers") for sent in message.watchers),
        can_move=message.can_move,
        sees_pagemap=message.sees_pagemap,
        migrate_holds_lock=message.migrate_holds_lock,
        kernel=checks.words(message.kernel, f"{at}.kernel", checks.NAME_CHARS_MAX),
        remarks=tuple(checks.words(remark, f"{at}.remarks") for remark in message.remarks),
    )
