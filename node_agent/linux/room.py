"""Room on the target nodes, kept in mind between looks: headroom is never used up, and huge pages never split.

4 KB pages are allocated on the target alone: the kernel drives it to its min watermark and reclaims other jobs' page
cache before it gives up. So a batch goes only where the high watermark and the policy's headroom stay free, and huge
pages only where whole free blocks are left. Looked at again every tenth of a second, and whenever it gets tight.
"""

from collections.abc import Collection
from dataclasses import replace

from node_agent.core.facts import Room
from node_agent.core.pages import Run
from node_agent.linux.memory import HostMemory
from numaplace.model.ids import NodeId
from numaplace.model.move import LeftReason
from numaplace.model.residency import PageSize

LOOK_S = 0.1
SPARE_BLOCKS = 4
"""Free huge blocks that are left alone: others allocate meanwhile, and a split costs the job its huge page for good."""


class RoomGuard:
    """Says whether a run fits its target, and which other home node would do."""

    def __init__(self, host: HostMemory, nodes: Collection[NodeId], headroom_bytes: int) -> None:
        self._host = host
        self._nodes = tuple(nodes)
        self._headroom_bytes = headroom_bytes
        self._rooms: dict[NodeId, Room] = {}
        self._looked_s: float | None = None
        self._full: set[NodeId] = set()
        self._splits = False

    def free_bytes(self) -> dict[NodeId, int]:
        """What each node can take above the headroom, as of now."""
        self._look()
        return {node: max(0, room.free_bytes - self._headroom_bytes) for node, room in self._rooms.items()}

    def place(self, run: Run) -> tuple[NodeId | None, LeftReason]:
        """The target for a run: its own, or another home node if that is full; None and the reason if none fits."""
        others = sorted(self._nodes, key=lambda node: -self._rooms[node].free_bytes if node in self._rooms else 0)
        reason = self._refusal(run, run.target)
        if reason is None:
            return run.target, LeftReason.NOT_REACHED
        for node in others:
            if node != run.target and self._refusal(run, node) is None:
                return node, reason
        return None, reason

    def _refusal(self, run: Run, node: NodeId) -> LeftReason | None:
        if node in self._full:
            return LeftReason.TARGET_FULL
        if self._looked_s is None or self._host.now_s() - self._looked_s > LOOK_S:
            self._look()
        reason = self._tight(run, node)
        if reason is not None:
            self._look()
            reason = self._tight(run, node)
        return reason

    def _tight(self, run: Run, node: NodeId) -> LeftReason | None:
        if run.size is PageSize.HUGETLB:
            # A pool's pages are not in the free memory; the kernel may add one, so it is the judge.
            return None
        room = self._rooms[node]
        if room.free_bytes - run.bytes < self._headroom_bytes:
            return LeftReason.TARGET_FULL
        if run.size is PageSize.THP:
            short = room.free_thp is not None and room.free_thp - len(run.pages) < SPARE_BLOCKS
            return LeftReason.THP_WOULD_SPLIT if short or self._splits else None
        return None

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
            blocks -= len(run.pages) if run.size is PageSize.THP else -(-run.bytes // (2 << 20))
        self._rooms[run.target] = replace(room, free_bytes=room.free_bytes - run.bytes, free_thp=blocks)

    def run_dry(self, node: NodeId) -> None:
        """The kernel itself found no page there."""
        self._full.add(node)

    def saw_split(self) -> None:
        """The kernel split a huge page for want of a block: no more of them are sent."""
        self._splits = True
