"""Single pages that somebody picked, each with the node it shall go to: from addresses to what the kernel moves.

Rules, for lists of a million entries (so everything is a vector operation):

- An address anywhere inside a page stands for the page. A huge page, or a larger page that is mapped by base pages, is
  one entry of all its size: the kernel moves it whole, and asking twice would make it flush its batch.
- Two entries for one page: the one that comes first in the list, the hottest, decides.
- The order of the list is the order in which pages go.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from node_agent.core.pages import Addresses, Ints, Mask, Pages, Positions, Region, Sizes
from numaplace.model.ids import NodeId

Ranks = Positions
"""Positions in the list: 0 is the hottest."""


@dataclass(frozen=True, slots=True, eq=False)
class Picks:
    """The list by address, ascending; ``targets`` are by rank, in the order of the list."""

    addresses: Addresses
    ranks: Ranks
    targets: Ints

    @classmethod
    def of(cls, addresses: Sequence[int], nodes: Sequence[NodeId]) -> "Picks":
        """The list as it was given: hottest first, any addresses inside the pages."""
        given = np.fromiter(addresses, np.uint64, len(addresses))
        order = np.argsort(given, kind="stable")
        return cls(given[order], order, np.fromiter(nodes, np.int32, len(nodes)))

    def where(self, mask: "Mask | slice") -> "Picks":
        """Those that the mask or the slice selects."""
        return Picks(self.addresses[mask], self.ranks[mask], self.targets)

    def __len__(self) -> int:
        """How many."""
        return len(self.addresses)


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """Pages that were picked, by address; ``ranks`` of the hottest pick of each, ``targets`` where that wants it."""

    pages: Pages
    ranks: Ranks
    targets: Ints

    def where(self, mask: "Mask | slice | Positions") -> "Wanted":
        """Those that the mask or the slice selects, or in the order of an array of positions."""
        return Wanted(self.pages.where(mask), self.ranks[mask], self.targets[mask])

    @property
    def misplaced(self) -> Mask:
        """Which are not where they are wanted; a page of no known node is nowhere."""
        away: Mask = self.pages.nodes != self.targets
        return away

    def hottest_first(self) -> "Wanted":
        """The same in the order of the list."""
        return self.where(np.argsort(self.ranks))

    @classmethod
    def joined(cls, parts: "list[Wanted]") -> "Wanted":
        """All parts, one after the other."""
        if not parts:
            return cls(Pages.none(), np.empty(0, np.intp), np.empty(0, np.int32))
        return cls(
            Pages.joined([part.pages for part in parts]),
            np.concatenate([part.ranks for part in parts]),
            np.concatenate([part.targets for part in parts]),
        )


def stretches(picks: Picks, stretch_bytes: int, block_bytes: int, gap_bytes: int) -> Iterator[tuple[int, int, Picks]]:
    """Stretches of address space to be read for the picks, whole blocks, and the picks in each.

    Picks with no more than ``gap_bytes`` between them share one, and none crosses a multiple of ``stretch_bytes``.
    """
    if not len(picks):
        return
    blocks = (picks.addresses // np.uint64(block_bytes)).view(np.int64)
    apart = np.diff(blocks) > gap_bytes // block_bytes
    apart |= np.diff((picks.addresses // np.uint64(stretch_bytes)).view(np.int64)) != 0
    ends = [*(np.flatnonzero(apart) + 1).tolist(), len(picks)]
    first = 0
    for end in ends:
        yield int(blocks[first]) * block_bytes, (int(blocks[end - 1]) + 1) * block_bytes, picks.where(slice(first, end))
        first = end


def folded(pages: Pages, tails: Mask) -> Pages:
    """One entry for each page as the kernel moves it: base pages of a larger one are taken together with its first.

    Where its first is not mapped here the first that is stands for it. What does not follow on its neighbour, in the
    address space and in memory, begins anew.
    """
    if not tails.any():
        return pages
    follows = np.zeros(len(pages), np.bool_)
    ends = pages.addresses + pages.sizes.view(np.uint64)
    follows[1:] = tails[1:] & (pages.addresses[1:] == ends[:-1]) & (np.diff(pages.frames.view(np.int64)) == 1)
    sizes: Sizes = np.add.reduceat(pages.sizes, np.flatnonzero(~follows))
    return replace(pages.where(~follows), sizes=sizes)


def found(picks: Picks, pages: Pages) -> tuple[Wanted, Mask]:
    """The pages that the picks are in, each once; and which picks are in none."""
    at = np.searchsorted(pages.addresses, picks.addresses, side="right") - 1
    if not len(pages):
        return Wanted.joined([]), np.ones(len(picks), np.bool_)
    inside = at >= 0
    inside &= picks.addresses - pages.addresses[at] < pages.sizes[at].view(np.uint64)
    at, ranks = at[inside], picks.ranks[inside]
    if not len(at):
        return Wanted.joined([]), ~inside
    firsts = np.flatnonzero(np.diff(at, prepend=-1))
    hottest = np.minimum.reduceat(ranks, firsts)
    return Wanted(pages.where(at[firsts]), hottest, picks.targets[hottest]), ~inside


def regions_at(addresses: Addresses, regions: Sequence[Region]) -> Positions:
    """The position of the region that each address is in; -1 for none. Regions are in address order."""
    if not regions:
        return np.full(len(addresses), -1, np.intp)
    starts = np.array([region.start for region in regions], np.uint64)
    ends = np.array([region.end for region in regions], np.uint64)
    at = np.searchsorted(starts, addresses, side="right") - 1
    return np.where((at >= 0) & (addresses < ends[at]), at, -1)
