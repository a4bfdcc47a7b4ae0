"""Pages as arrays: what a walk over a process's address space sees, one entry per page, huge pages whole.

A Python loop over pages costs as much as the kernel's own work, so pages are columns of NumPy arrays, and everything
that looks at many of them is a vector operation. Huge pages are one entry of their full size: that is how the kernel
moves them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from node_agent.core.facts import ProcessRef
from numaplace.model.ids import NodeId
from numaplace.model.residency import Cell, PageKind, PageSize

Addresses = NDArray[np.uint64]
Frames = NDArray[np.uint64]
Ints = NDArray[np.int32]
Sizes = NDArray[np.int64]
Flags = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Positions = NDArray[np.intp]

UNKNOWN_NODE = -1
"""A frame that belongs to no node's memory: a device's, or a hole's."""


class PageFlag(IntFlag):
    """What is known of a page. EXCLUSIVE: mapped once in the whole host. TAIL: inside a larger page, not to be sent."""

    EXCLUSIVE = 1
    FILE_OR_SHARED = 2
    HUGETLB = 4
    TAIL = 8


class Backing(Enum):
    """What is behind a region; pages that a process wrote in a private file mapping are anonymous all the same."""

    PRIVATE = "private"
    FILE = "file"
    SHARED = "shared"
    DEVICE = "device"
    KERNEL = "kernel"


KINDS = (PageKind.ANON, PageKind.FILE, PageKind.SHARED)
"""Page kinds by the small number that stands for them in arrays."""
DEVICE_KIND = len(KINDS)
"""The number for pages of a device's mapping, which no kernel moves."""
NO_KIND = DEVICE_KIND + 1
"""The number for the kernel's own little mappings, which are nobody's memory."""

_KIND_CODES = {
    Backing.PRIVATE: (0, 1),
    Backing.FILE: (0, 1),
    Backing.SHARED: (0, 2),
    Backing.DEVICE: (DEVICE_KIND, DEVICE_KIND),
    Backing.KERNEL: (NO_KIND, NO_KIND),
}
"""The kind of a region's anonymous pages, and of its others."""


class Region(NamedTuple):
    """A mapping ``[start, end)``.

    ``name`` identifies what several processes can map together: the file or shared memory, or for private memory the
    empty name, because fork keeps addresses. ``offset`` is the start's place in it.
    """

    start: int
    end: int
    backing: Backing
    name: str = ""
    offset: int = 0

    @property
    def length_bytes(self) -> int:
        """Its size in the address space."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """Present pages in address order; zero pages and never-touched ones are left out.

    ``frames`` are 0 where the kernel does not tell. ``nodes`` may be UNKNOWN_NODE. ``sizes`` in bytes. ``kinds`` are
    positions in KINDS, or DEVICE_KIND.
    """

    addresses: Addresses
    nodes: Ints
    sizes: Sizes
    flags: Flags
    frames: Frames
    kinds: Flags

    def __len__(self) -> int:
        """How many."""
        return len(self.addresses)

    @property
    def bytes(self) -> int:
        """The sum of their sizes."""
        return int(self.sizes.sum())

    def fitting(self, room_bytes: int) -> int:
        """How many of them, from the first on, are no larger than that together."""
        if not len(self.sizes) or room_bytes <= 0:
            return 0
        if self.sizes[0] == self.sizes[-1] == self.bytes // len(self.sizes):
            return min(len(self.sizes), room_bytes // int(self.sizes[0]))
        return int(np.searchsorted(np.cumsum(self.sizes), room_bytes, side="right"))

    def where(self, mask: "Mask | slice | Positions") -> "Pages":
        """The pages that the mask or the slice selects, or those at these positions."""
        return Pages(
            self.addresses[mask],
            self.nodes[mask],
            self.sizes[mask],
            self.flags[mask],
            self.frames[mask],
            self.kinds[mask],
        )

    def has(self, flag: PageFlag) -> Mask:
        """Which pages carry the flag."""
        mask: Mask = (self.flags & np.uint8(flag)) != 0
        return mask

    @classmethod
    def none(cls) -> "Pages":
        """No pages."""
        return cls(
            np.empty(0, np.uint64),
            np.empty(0, np.int32),
            np.empty(0, np.int64),
            np.empty(0, np.uint8),
            np.empty(0, np.uint64),
            np.empty(0, np.uint8),
        )

    @classmethod
    def joined(cls, parts: "list[Pages]") -> "Pages":
        """The pages of all parts, one after the other."""
        if not parts:
            return cls.none()
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([p.addresses for p in parts]),
            np.concatenate([p.nodes for p in parts]),
            np.concatenate([p.sizes for p in parts]),
            np.concatenate([p.flags for p in parts]),
            np.concatenate([p.frames for p in parts]),
            np.concatenate([p.kinds for p in parts]),
        )


def kinds_in(pages: Pages, region: Region) -> Flags:
    """The kind of each page of one region."""
    anonymous, other = _KIND_CODES[region.backing]
    file = pages.has(PageFlag.FILE_OR_SHARED)
    if not file.any():
        return np.full(len(pages), anonymous, np.uint8)
    kinds: Flags = np.where(file, np.uint8(other), np.uint8(anonymous))
    return kinds


def kinds_of(pages: Pages, regions: Sequence[Region], starts: Addresses) -> Flags:
    """The kind of each page, from the region it is in; ``starts`` are the starts of the regions, ascending."""
    codes = np.array([_KIND_CODES[region.backing] for region in regions], np.uint8)
    at = np.searchsorted(starts, pages.addresses, side="right") - 1
    kinds: Flags = codes[np.maximum(at, 0), pages.has(PageFlag.FILE_OR_SHARED).astype(np.intp)]
    return kinds


def count_cells(pages: Pages, base_bytes: int) -> dict[Cell, int]:
    """Bytes by node, page size and kind; pages of no known node, and of devices, are left out.

    One ``bincount`` over a small code per page: node, size class, kind.
    """
    if not len(pages):
        return {}
    code = pages.nodes + 1
    code *= 3 * NO_KIND
    code += pages.kinds
    huge = pages.sizes > base_bytes
    if huge.any():
        code += np.where(huge, np.where(pages.has(PageFlag.HUGETLB), 2 * NO_KIND, NO_KIND), 0).astype(np.int32)
        sums = np.bincount(code, weights=pages.sizes)
    else:
        sums = np.bincount(code) * base_bytes
    cells: dict[Cell, int] = {}
    for c in np.flatnonzero(sums).tolist():
        node, rest = divmod(c, 3 * NO_KIND)
        size, kind = divmod(rest, NO_KIND)
        if node and kind != DEVICE_KIND:
            cells[Cell(NodeId(node - 1), _SIZES[size], KINDS[kind])] = int(sums[c])
    return cells


_SIZES = (PageSize.BASE, PageSize.THP, PageSize.HUGETLB)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Pages of one process for one target and one page size, cut so that one call takes them all.

    ``move_all``: several processes map them, all of the task.
    """

    process: ProcessRef
    pages: Pages
    target: NodeId
    size: PageSize
    move_all: bool = False

    @property
    def bytes(self) -> int:
        """The sum of the pages' sizes."""
        return self.pages.bytes
