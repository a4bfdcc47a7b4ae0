"""This host's nodes, CPUs and distances, read from sysfs as one value; cheap enough to be read with every sweep."""

from pathlib import Path

from numaplace.kernel.errors import Unsupported
from numaplace.kernel.files import HOST
from numaplace.kernel.sysfs import (
    read_distances,
    read_node_cpus,
    read_node_memory,
    read_node_sets,
    read_online_cpus,
)
from numaplace.model.ids import NodeId
from numaplace.model.topology import LOCAL_DISTANCE, Node, Topology


def read_topology(root: Path = HOST) -> Topology:
    """Read the online nodes; a kernel without NUMA is one node.

    Raises:
        KernelFormatError: a file of another form.
    """
    try:
        sets = read_node_sets(root)
        distances = read_distances(root)
    except Unsupported:
        return _one_node(root)
    return Topology(
        tuple(
            Node(
                node,
                read_node_cpus(node, root),
                read_node_memory(node, root).total if node in sets.with_memory else 0,
                distances[node],
            )
            for node in sorted(sets.online)
        )
    )


def _one_node(root: Path) -> Topology:
    """A kernel built without NUMA: everything is local to everything, and there is nowhere to move to."""
    only = NodeId(0)
    return Topology((Node(only, read_online_cpus(root), 1, {only: LOCAL_DISTANCE}),))
