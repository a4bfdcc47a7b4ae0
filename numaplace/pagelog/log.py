"""The votes of a log's records, and which page shall go where by them.

Rules it keeps:

- A page goes to the node whose records weigh most; where two weigh the same it stays.
- What the kernel moves as one is one: the records of a transparent huge page are summed over its block.
- Hottest first, by weight per byte, so that a budget buys the most; what it cannot buy is the coldest.
- What cannot be meant is never dropped in silence: it is counted by its reason.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from typing import Final, NamedTuple

from numaplace.model.cpuset import format_id_list
from numaplace.model.hand import PickedPages
from numaplace.model.ids import CpuId, NodeId, Nodes
from numaplace.pagelog.text import LIMITS, Limits, LogError

HUGE_BYTES: Final = 2 << 20
_KERNEL_FROM: Final = 1 << 63
_NODES_MAX: Final = 1 << 16  # more than any kernel is built for; a vote's key is page * _NODES_MAX + node
_LOWEST: Final = 1 << 12  # nothing is ever mapped at zero: a profiler's zero says that it saw no address


class Skip(Enum):
    """Why a record says nothing of a page that could be moved."""

    OTHER_PROCESS = "of another process"
    KERNEL_ADDRESS = "kernel addresses"
    NO_ADDRESS = "without a data address"
    UNKNOWN_CPU = "from a CPU that is on no known node"
    NO_WEIGHT = "of no weight"


class Sample(NamedTuple):
    """A record as it stands in a log, with the line it stands on. It names its node, or the CPU it ran on."""

    line: int
    address: int
    node: int | None
    cpu: int | None
    weight: float
    pid: int | None = None
    tid: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What the records are about: this host's nodes and CPUs, and the one process whose pages are meant.

    ``nodes`` have memory; ``node_of_cpu`` gives the nearest of them. A record that names a pid must name this one; one
    that names only a tid must name one of ``threads`` (or the pid). Without a pid every record counts.
    """

    page_bytes: int
    nodes: Nodes
    node_of_cpu: Mapping[CpuId, NodeId]
    pid: int | None = None
    threads: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Picking:
    """What was chosen of a log, and what not. ``addresses`` and ``nodes`` belong together, hottest first.

    ``picked_bytes`` is what they amount to; ``tied`` are units (a base or a huge page) that stay because no node wins,
    ``at_home`` those that lie on their node already, ``over_budget`` those too cold for the budget.
    """

    addresses: tuple[int, ...]
    nodes: tuple[NodeId, ...]
    picked_bytes: int
    tied: int
    at_home: int
    over_budget: int


@dataclass(frozen=True, slots=True)
class PageLog:
    """All of a log: the summed weights by page and node, how many records it had, and how many were passed over."""

    page_bytes: int
    votes: Mapping[int, float] = field(repr=False)
    records: int
    skipped: Mapping[Skip, int]

    @property
    def pages(self) -> int:
        """How many pages the log speaks of."""
        return len({key // _NODES_MAX for key in self.votes})

    @property
    def addresses(self) -> frozenset[int]:
        """The first address of each page that the log speaks of."""
        return frozenset(key // _NODES_MAX * self.page_bytes for key in self.votes)

    def pick(
        self,
        *,
        huge_blocks: AbstractSet[int] = frozenset(),
        huge_bytes: int = HUGE_BYTES,
        budget_bytes: int | None = None,
        lies_on: Mapping[int, NodeId] | None = None,
    ) -> Picking:
        """Choose the pages to move.

        Args:
            huge_blocks: the addresses of the blocks of ``huge_bytes`` that the process maps by one huge page each.
            huge_bytes: the size of such a page.
            budget_bytes: choose no more than this; None for all.
            lies_on: where pages lie now, by their first address (a huge one by its block's): one that lies on the
                node that it would go to is not chosen, and takes nothing of the budget.
        """
        found: list[tuple[float, int, NodeId, int]] = []
        tied = at_home = 0
        for start, size, weights in self._units(huge_blocks, huge_bytes):
            node = _winner(weights)
            if node is None:
                tied += 1
            elif lies_on is not None and lies_on.get(start) == node:
                at_home += 1
            else:
                found.append((-weights[node] / size, start, node, size))
        found.sort()
        kept = _within(found, budget_bytes)
        return Picking(
            addresses=tuple(start for _, start, _, _ in found[:kept]),
            nodes=tuple(node for _, _, node, _ in found[:kept]),
            picked_bytes=sum(size for _, _, _, size in found[:kept]),
            tied=tied,
            at_home=at_home,
            over_budget=len(found) - kept,
        )

    def picked(
        self,
        *,
        huge_blocks: AbstractSet[int] = frozenset(),
        huge_bytes: int = HUGE_BYTES,
        budget_bytes: int | None = None,
        lies_on: Mapping[int, NodeId] | None = None,
        shared: bool = False,
    ) -> PickedPages:
        """The chosen pages as a move by hand takes them; arguments as `pick`, and whether shared pages go too.

        Raises:
            LogError: none is left to move, and why.
        """
        found = self.pick(huge_blocks=huge_blocks, huge_bytes=huge_bytes, budget_bytes=budget_bytes, lies_on=lies_on)
        if not found.addresses:
            raise LogError(
                f"no page is left to move: {found.at_home} lie where they should, {found.tied} are used alike from"
                f" several nodes, {found.over_budget} are beyond the budget"
            )
        return PickedPages(found.addresses, found.nodes, shared)

    def _units(self, huge_blocks: AbstractSet[int], huge_bytes: int) -> Iterator[tuple[int, int, dict[NodeId, float]]]:
        """Each page or huge page: its address, its size, the weights of its nodes."""

        def start_of(key: int) -> int:
            start = key // _NODES_MAX * self.page_bytes
            block = start - start % huge_bytes
            return block if block in huge_blocks else start

        # In order of address, so that a block's keys follow each other and no table of all units is needed.
        for start, keys in groupby(sorted(self.votes), start_of):
            weights: dict[NodeId, float] = {}
            for key in keys:
                node = NodeId(key % _NODES_MAX)
                weights[node] = weights.get(node, 0.0) + self.votes[key]
            yield start, huge_bytes if start in huge_blocks else self.page_bytes, weights


def _winner(weights: Mapping[NodeId, float]) -> NodeId | None:
    """The node of most weight; None if there are several."""
    most = max(weights.values())
    nodes = [node for node, weight in weights.items() if weight == most]
    return nodes[0] if len(nodes) == 1 else None


def _within(found: list[tuple[float, int, NodeId, int]], budget_bytes: int | None) -> int:
    """How many of the first fit."""
    if budget_bytes is None:
        return len(found)
    for number, (_, _, _, size) in enumerate(found):
        budget_bytes -= size
        if budget_bytes < 0:
            return number
    return len(found)


def count(samples: Iterable[Sample], place: Place, limits: Limits = LIMITS) -> PageLog:
    """Sum up records.

    Raises:
        LogError: a record names a node that is not there, there are too many pages, or no record is of any use.
    """
    votes: dict[int, float] = {}
    skipped: dict[Skip, int] = {}
    records = 0
    for sample in samples:
        records += 1
        node = _node_of(sample, place)
        if isinstance(node, Skip):
            skipped[node] = skipped.get(node, 0) + 1
            continue
        key = sample.address // place.page_bytes * _NODES_MAX + node
        votes[key] = votes.get(key, 0.0) + sample.weight
        if len(votes) > limits.votes:
            raise LogError(f"the log speaks of more than {limits.votes} pages: take fewer", sample.line)
    if not votes:
        raise LogError(_useless(records, skipped))
    return PageLog(place.page_bytes, votes, records, skipped)


def _node_of(sample: Sample, place: Place) -> NodeId | Skip:
    """The node that a record speaks for, or why it speaks for none."""
    reason = _passed_over(sample, place)
    if reason is not None:
        return reason
    if sample.node is None:
        if sample.cpu is None:
            raise LogError("the record names neither a node nor a CPU", sample.line)
        return place.node_of_cpu.get(CpuId(sample.cpu), Skip.UNKNOWN_CPU)
    node = NodeId(sample.node)
    if node not in place.nodes:
        known = format_id_list(place.nodes)
        raise LogError(f"this host has no node {node} with memory; it has {known}", sample.line)
    return node


def _passed_over(sample: Sample, place: Place) -> Skip | None:
    if place.pid is not None:
        own = sample.tid is None or sample.tid == place.pid or sample.tid in place.threads
        if sample.pid != place.pid if sample.pid is not None else not own:
            return Skip.OTHER_PROCESS
    if sample.address >= _KERNEL_FROM:
        return Skip.KERNEL_ADDRESS
    if sample.address < _LOWEST:
        return Skip.NO_ADDRESS
    return None if sample.weight > 0 else Skip.NO_WEIGHT


def _useless(records: int, skipped: Mapping[Skip, int]) -> str:
    if not records:
        return "the log is empty: it has no records"
    reasons = ", ".join(f"{number} {reason.value}" for reason, number in skipped.items())
    return f"none of the log's {records} records is of use: {reasons}"
