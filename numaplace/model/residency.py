"""Where a task's resident bytes lie: by node, page size and kind. Nothing here is measured; see node_agent.linux."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from numaplace.model.ids import NodeId, Nodes


class PageSize(Enum):
    """How a page is mapped. A THP is 2 MB on x86-64 and differs elsewhere; bytes are always counted as bytes."""

    BASE = "base"
    THP = "thp"
    HUGETLB = "hugetlb"


class PageKind(Enum):
    """What a page holds. SHARED is shared memory (shm, memfd, tmpfs) and anonymous memory that several tasks map."""

    ANON = "anon"
    FILE = "file"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a residency: pages of one size and kind on one node."""

    node: NodeId
    size: PageSize
    kind: PageKind


@dataclass(frozen=True)
class Residency:
    """A task's resident bytes by cell. Cells of zero bytes are left out."""

    cells: Mapping[Cell, int] = field(default_factory=dict)

    @classmethod
    def of_nodes(cls, bytes_by_node: Mapping[NodeId, int]) -> "Residency":
        """Plain anonymous base pages by node: what tests and small examples need."""
        return cls({Cell(n, PageSize.BASE, PageKind.ANON): b for n, b in bytes_by_node.items() if b})

    @cached_property
    def by_node(self) -> Mapping[NodeId, int]:
        """Resident bytes by node."""
        nodes: dict[NodeId, int] = {}
        for cell, size in self.cells.items():
            nodes[cell.node] = nodes.get(cell.node, 0) + size
        return nodes

    @property
    def resident_bytes(self) -> int:
        """All resident bytes."""
        return sum(self.cells.values())

    def bytes_on(self, nodes: Nodes) -> int:
        """Resident bytes on these nodes."""
        return sum(size for node, size in self.by_node.items() if node in nodes)

    def remote_bytes(self, home: Nodes, kinds: frozenset[PageKind] = frozenset(PageKind)) -> int:
        """Resident bytes of the given kinds that lie outside home."""
        return sum(size for cell, size in self.cells.items() if cell.node not in home and cell.kind in kinds)

    def locality(self, home: Nodes) -> float:
        """Resident bytes at home divided by all resident bytes; 1.0 for a task without pages."""
        total = self.resident_bytes
        return 1.0 if total == 0 else 1.0 - self.remote_bytes(home) / total
