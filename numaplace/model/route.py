"""From which node to which node: relative position kept where it means something, spread by free memory where not.

The page-migration document promises that relative position is kept: nodes {0,1} to {2,3} takes node 0's pages to
node 2 and node 1's to node 3. Sets of unequal size have no such pairing: then a source's bytes are spread over the
targets in proportion to free memory over distance. Pages that already lie at home never move.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from numaplace.model.ids import NodeId, Nodes
from numaplace.model.topology import Topology


@dataclass(frozen=True, slots=True)
class Share:
    """A target and the part (0 < weight <= 1) of a source's pages that goes there."""

    target: NodeId
    weight: float


Routes = Mapping[NodeId, tuple[Share, ...]]
"""For each source node the shares of its targets; the weights of one source add up to one."""


def plan_routes(
    previous_home: Nodes, home: Nodes, holding: Nodes, topology: Topology, free_bytes: Mapping[NodeId, int]
) -> Routes:
    """Routes for every node in ``holding`` (where the task has pages) that is not in ``home``.

    ``free_bytes`` is what each node can still take; a node that is not named is taken for empty of free memory.
    """
    pairs = _pair_by_position(previous_home, home)
    routes: dict[NodeId, tuple[Share, ...]] = {}
    for source in sorted(holding - home):
        if source in pairs:
            routes[source] = (Share(pairs[source], 1.0),)
        elif home:
            routes[source] = _spread(source, home, topology, free_bytes)
    return routes


def _pair_by_position(previous_home: Nodes, home: Nodes) -> dict[NodeId, NodeId]:
    """The n-th node left behind with the n-th node gained, where there are as many of each."""
    left, gained = sorted(previous_home - home), sorted(home - previous_home)
    return dict(zip(left, gained, strict=True)) if len(left) == len(gained) else {}


def _spread(source: NodeId, home: Nodes, topology: Topology, free_bytes: Mapping[NodeId, int]) -> tuple[Share, ...]:
    """Every home node in proportion to its free memory over its distance; equal parts if nothing is free anywhere."""
    attraction = {n: max(0, free_bytes.get(n, 0)) / topology.distance(source, n) for n in sorted(home)}
    total = sum(attraction.values())
    if total == 0:
        return tuple(Share(n, 1 / len(home)) for n in sorted(home))
    return tuple(Share(n, part / total) for n, part in attraction.items() if part > 0)
