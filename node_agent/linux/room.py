"""Room on the target nodes, kept in mind between looks: headroom is never used up, and huge pages never split.

4 KB pages are allocated on the target alone: the kernel drives it to its min watermark and reclaims other jobs' page
cache before it gives up. So a batch goes only where the high watermark and the policy's headroom stay free, and huge
pages only where whole free blocks are left. Looked at again some times a second, and whenever it gets tight.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Protocol

from node_agent.core.facts import Room
from node_agent.core.pages import Run
from numaplace.model.ids import NodeId
from numaplace.model.move import LeftReason
from numaplace.model.residency import PageSize

LOOK_S = 0.25
SPARE_BLOCKS = 4
"""Free huge blocks that are left alone: others allocate meanwhile, and a split costs the job its huge page for good."""


class Rooms(Protocol):
    """What the guard needs of a host."""

    def rooms(self, nodes: Collection[NodeId]) -> Mapping[NodeId, Room]:
        """What each node can take now."""
        ...

    def now_s(self) -> float:
        """The clock."""
        ...


class RoomGuard:
    """Says whether a run fits its target, and which other node of the targets would do."""

    def __init__(self, host: Rooms, nodes: Collection[NodeId], headroom_bytes: int, *, exact: bool = False) -> None:
        """``nodes``: all targets; ``exact``: a run goes to its own or nowhere."""
        self._host = host
        self._nodes = tuple(nodes)
        self._others = () if exact else self._nodes
        self._headroom_bytes = headroom_bytes
        self._rooms: dict[NodeId, Room] = {}
        self._looked_s: float | None = None
        self._full: set[NodeId] = set()
        self._splits = False

    def free_bytes(self) -> dict[NodeId, int]:
        """What each node can take above the headroom, as of now."""
        self._look()
        return {node: max(0, room.free_bytes - self._headroom_bytes) for node, room in self._rooms.items()}

    def place(self, run: Run) -> tuple[NodeId | None, int, LeftReason]:
        """Where a run can go: its target or another one of the targets, and how many of its pages there.

        Its own target if it has room for all, else whichever has room for most; None, 0 and the reason if none has
        room for a single page.
        """
        if self._looked_s is None or self._host.now_s() - self._looked_s > LOOK_S:
            self._look()
        pages, reason = self._fit(run, run.target)
        if pages < len(run.pages):
            self._look()
            pages, reason = self._fit(run, run.target)
        best = run.target
        for node in self._others:
            if pages < len(run.pages) and self._fit(run, node)[0] > pages:
                best, pages = node, self._fit(run, node)[0]
        return (best if pages else None), pages, reason

    def _fit(self, run: Run, node: NodeId) -> tuple[int, LeftReason]:
        """How many pages of a run fit a node, and what stands against more."""
        if node in self._full:
            return 0, LeftReason.TARGET_FULL
        if run.size is PageSize.HUGETLB:
            # A pool's pages are not in the free memory; the kernel may add one, so it is the judge.
            return len(run.pages), LeftReason.HUGETLB_POOL
        room = self._rooms[node]
        spare = room.free_bytes - self._headroom_bytes
        pages = run.pages.fitting(spare)
        if run.size is PageSize.BASE or room.free_thp is None:
            return pages, LeftReason.TARGET_FULL
        blocks = 0 if self._splits else max(0, room.free_thp - SPARE_BLOCKS)
        return (pages, LeftReason.TARGET_FULL) if pages < blocks else (blocks, LeftReason.THP_WOULD_SPLIT)

    def _look(self) -> None:
        self._rooms = dict(self._host.rooms(self._nodes))
        self._looked_s = self._host.now_s()

    def spend(self, run: Run) -> None:
        """A run is on its way to its target."""
        if run.size is PageSize.HUGETLB:
            return
        room = self._rooms[run.target]
        blocks = room.free_thp
        if blocks is not None:
            blocks -= blocks_of(run)
        self._rooms[run.target] = replace(room, free_bytes=room.free_bytes - run.bytes, free_thp=blocks)

    def run_dry(self, node: NodeId) -> None:
        """The kernel itself found no page there."""
        self._full.add(node)

    def saw_split(self) -> None:
        """The kernel split a huge page for want of a block: no more of them are sent."""
        self._splits = True


def blocks_of(run: Run) -> int:
    """How many free huge blocks a run uses up at most; base pages are taken for filling one after the other."""
    return len(run.pages) if run.size is PageSize.THP else -(-run.bytes // (2 << 20))
