"""From which node to which node: relative position kept where it means something, spread by free memory where not.

The page-migration document promises that relative position is kept: nodes {0,1} to {2,3} takes node 0's pages to
node 2 and node 1's to node 3. Sets of unequal size have no such pairing: then a source's bytes are spread over the
targets in proportion to free memory over distance. Pages that already lie at home never move.

Where sets overlap, one node's pages must be gone before another's arrive, or both would be taken on: so a way is cut
into legs, one after the other. Pairs by rank always rise or always fall along a chain, so there is no way in a circle.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from numaplace.model.ids import NodeId, Nodes
from numaplace.model.topology import Topology


@dataclass(frozen=True, slots=True)
class Share:
    """A target and the part (0 < weight <= 1) of a source's pages that goes there."""

    target: NodeId
    weight: float


Routes = Mapping[NodeId, tuple[Share, ...]]
"""For each source node the shares of its targets; the weights of one source add up to one."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a way that is gone at once: the pages of ``sources`` go to ``targets``, which are none of the sources.

    ``pairs``: the sources that have one target of their own; what lies on others is spread over all targets. With
    ``exact`` a pair is kept or nothing moves: a target that is full, or not allowed, is not made up for by another.
    """

    sources: Nodes
    targets: Nodes
    pairs: Mapping[NodeId, NodeId] = field(default_factory=dict)
    exact: bool = False


def leg_home(previous_home: Nodes, home: Nodes, holding: Nodes) -> Leg:
    """The way home of all that lies elsewhere on the nodes in ``holding``; position is kept of what is left behind."""
    pairs = _pair_by_position(previous_home, home)
    sources = holding - home
    return Leg(sources, home, {source: target for source, target in pairs.items() if source in sources})


def legs_across(sources: Nodes, targets: Nodes) -> tuple[Leg, ...]:
    """The legs that take the pages of ``sources`` to ``targets`` as the kernel's own `migrate_pages` would.

    As many of each are paired by rank, and a pair of equal nodes stays; else sources that are targets too are skipped.
    No target of a leg is a source of it or of a later one.
    """
    if len(sources) != len(targets):
        rest = sources - targets
        return (Leg(rest, targets),) if rest and targets else ()
    pending = {s: t for s, t in zip(sorted(sources), sorted(targets), strict=True) if s != t}
    legs: list[Leg] = []
    while pending:
        free = {source: target for source, target in pending.items() if target not in pending}
        legs.append(Leg(frozenset(free), frozenset(free.values()), free, exact=True))
        for source in free:
            del pending[source]
    return tuple(legs)


def routes_of(leg: Leg, topology: Topology, free_bytes: Mapping[NodeId, int]) -> Routes:
    """Where each source of a leg goes.

    ``free_bytes`` is what each node can still take; a node that is not named is taken for empty of free memory.
    """
    routes: dict[NodeId, tuple[Share, ...]] = {}
    for source in sorted(leg.sources):
        if source in leg.pairs:
            routes[source] = (Share(leg.pairs[source], 1.0),)
        elif leg.targets:
            routes[source] = _spread(source, leg.targets, topology, free_bytes)
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
