"""What an order asks for as legs that are gone one after the other, and what cannot be asked for at all.

A follow move is one leg: all that lies away from home, to it. A transfer by hand is as many as its nodes need; picked
pages have each their own target, so they are one leg that no node is a source of.
"""

from collections.abc import Iterable

from node_agent.core.facts import TaskFacts
from numaplace.model.cpuset import format_id_list
from numaplace.model.hand import HandMove, PickedPages
from numaplace.model.ids import Nodes
from numaplace.model.move import MoveOrder
from numaplace.model.route import Leg, leg_home, legs_across
from numaplace.model.topology import Topology

NOTHING_TO_MOVE = "every node named keeps its pages: there is nothing to move"
"""What is to be said of an order without legs."""
ADDRESS_BITS = 64


def legs_of(order: MoveOrder, what: HandMove | None, topology: Topology) -> tuple[Leg, ...]:
    """The legs of an order, in the order in which they are gone; none if nothing is to leave its node."""
    if what is None:
        return (leg_home(order.previous_home, order.home, topology.with_memory),)
    if isinstance(what, PickedPages):
        return (Leg(frozenset(), frozenset(what.nodes), exact=True),)
    return legs_across(what.sources, what.targets)


def sources_of(legs: Iterable[Leg]) -> Nodes:
    """All nodes whose pages leave on these legs."""
    return frozenset(node for leg in legs for node in leg.sources)


def refusal(what: HandMove | None, task: TaskFacts, topology: Topology) -> str | None:
    """Why nothing of this can be done for this task on this host, in words; None if it can be tried."""
    if what is None:
        return None
    if not task.processes:
        return "no process is in it"
    if isinstance(what, PickedPages):
        return _of_picked(what, task) or _of_nodes(frozenset(), frozenset(what.nodes), topology)
    return _of_nodes(what.sources, what.targets, topology)


def _of_picked(what: PickedPages, task: TaskFacts) -> str | None:
    if len(task.processes) != 1:
        return f"an address is of one process, and these are {len(task.processes)}: name one by its pid"
    if min(what.addresses) < 0 or max(what.addresses) >> ADDRESS_BITS:
        return "not an address: one of the numbers is negative, or longer than 64 bits"
    return None


def _of_nodes(sources: Nodes, targets: Nodes, topology: Topology) -> str | None:
    known = frozenset(topology.by_id)
    unknown = (sources | targets) - known
    if unknown:
        return f"this host has no {_in_words(unknown)}; it has {_in_words(known)}"
    empty = targets - topology.with_memory
    if empty:
        return f"{_in_words(empty)} has no memory; pages can go to {_in_words(topology.with_memory)}"
    return None


def _in_words(nodes: Nodes) -> str:
    return f"{'node' if len(nodes) == 1 else 'nodes'} {format_id_list(nodes)}"


def leg_in_words(leg: Leg) -> str:
    """For people, such as ``nodes 0-1 to 2-3``."""
    return f"nodes {format_id_list(leg.sources)} to {format_id_list(leg.targets)}"
