"""The account of a move: what moved, what stayed and why, and how that reads in plain words.

Rules: moved is what the kernel confirmed page by page, never what was asked for. What stayed is counted anew in each
pass over the task, because a page that was busy in the first may move in the second; only the last pass says what is
left. What vanished under way is in no later pass, so it is added up over all of them. But the kernel also says of pages
that they are absent which are found again later: where a pass meets more than the one before it had left, or the last
measurement finds more away from home than is explained, so much had not vanished. No byte is counted twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from node_agent.core.batches import Verdict
from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import Nodes
from numaplace.model.job import MemoryPolicy
from numaplace.model.move import LeftReason, MigrationCounters, MoveState
from numaplace.model.residency import Cell, PageKind, PageSize, Residency

MIB = 1 << 20

LASTING = frozenset({LeftReason.PINNED, LeftReason.SHARED, LeftReason.UNMOVABLE_MAPPING})
"""What the next move would find unmovable again: remembered, so that nobody orders it in vain."""


def reason_of(verdict: Verdict, kind: PageKind, size: PageSize) -> LeftReason | None:
    """Why a page of this kind stayed; None if it did not, or is to be tried again.

    A page that the kernel tried ten times and gave up is held by somebody. For anonymous and shared memory that is a
    pin; file pages are also held by their file system, for write-back for instance, and that passes.
    """
    if verdict is Verdict.REFUSED:
        return LeftReason.BUSY if kind is PageKind.FILE else LeftReason.PINNED
    if verdict is Verdict.FULL:
        return LeftReason.HUGETLB_POOL if size is PageSize.HUGETLB else LeftReason.TARGET_FULL
    return _REASONS[verdict]


_REASONS: Mapping[Verdict, LeftReason | None] = {
    Verdict.MOVED: None,
    Verdict.UNTRIED: None,
    Verdict.BUSY: LeftReason.BUSY,
    Verdict.SHARED: LeftReason.SHARED,
    Verdict.GONE: LeftReason.VANISHED,
    Verdict.UNMOVABLE: LeftReason.UNMOVABLE_MAPPING,
}


@dataclass(frozen=True, slots=True)
class _Before:
    """The account when a pass began: what the pass before it had left, and what had been moved and vanished so far."""

    left_bytes: int = 0
    moved_bytes: int = 0
    vanished_bytes: int = 0


@dataclass(slots=True)
class Ledger:
    """Bytes moved and left, and the residency that follows from them while the move runs.

    ``left`` is of the pass under way, ``settled`` of the legs that are closed. ``todo_bytes``: all that there is to
    move, what has moved included, as far as it is known.
    """

    cells: dict[Cell, int]
    moved_bytes: int = 0
    todo_bytes: int = 0
    left: dict[LeftReason, int] = field(default_factory=dict)
    settled: dict[LeftReason, int] = field(default_factory=dict)
    _vanished_bytes: int = 0
    _before: _Before = _Before()

    def begin_pass(self) -> None:
        """What is left is counted anew."""
        self._before = _Before(sum(self.left.values()), self.moved_bytes, self.vanished_bytes)
        self._vanished_bytes = 0
        self.left.clear()

    def meet_again(self) -> None:
        """What vanished before this pass is looked for once more in it: only what is said of it now counts."""
        self._before = replace(self._before, vanished_bytes=0)

    @property
    def vanished_in_pass(self) -> int:
        """What vanished in the pass under way."""
        return self._vanished_bytes

    @property
    def vanished_bytes(self) -> int:
        """What vanished before this pass and was not met again in it, and what vanished in it."""
        before = self._before
        met = self.moved_bytes - before.moved_bytes + sum(self.left.values()) + self._vanished_bytes
        found_again = max(0, met - before.left_bytes)
        return max(0, before.vanished_bytes - found_again) + self._vanished_bytes

    def move(self, source: Cell, target: Cell, size_bytes: int) -> None:
        """The kernel confirmed that so much went from one cell to the other."""
        self.moved_bytes += size_bytes
        self.cells[source] = max(0, self.cells.get(source, 0) - size_bytes)
        self.cells[target] = self.cells.get(target, 0) + size_bytes

    def leave(self, reason: LeftReason, size_bytes: int) -> None:
        """So much stays, for this pass."""
        if not size_bytes:
            return
        if reason is LeftReason.VANISHED:
            self._vanished_bytes += size_bytes
        else:
            self.left[reason] = self.left.get(reason, 0) + size_bytes

    def residency(self) -> Residency:
        """Where the pages are by this account."""
        return Residency({cell: size for cell, size in self.cells.items() if size})

    def left_so_far(self) -> dict[LeftReason, int]:
        """What is left by the legs that are closed and by the pass under way."""
        return _sum(self.settled, self.left)

    def close_leg(self, away_bytes: int, *, whole: bool = True) -> None:
        """This leg is over: what is left of it is settled. See `final`."""
        self.settled = _sum(self.settled, self.final(away_bytes, whole=whole))
        self.left.clear()
        self._vanished_bytes, self._before = 0, _Before(0, self.moved_bytes, 0)

    def final(self, away_bytes: int, *, whole: bool = True) -> dict[LeftReason, int]:
        """What is left of a leg in the end, given what a last measurement found that should have gone.

        After ``whole`` passes what is still away and has no reason was met, so it may be what was taken for vanished.
        After a part of one it is mostly what was never met.

        What no reason covers was not reached: the move ended early, the kernel did not find it, or the job touched it
        since.
        """
        left = dict(self.left)
        unexplained = max(0, away_bytes - sum(left.values()))
        if unexplained:
            left[LeftReason.NOT_REACHED] = left.get(LeftReason.NOT_REACHED, 0) + unexplained
        vanished = self.vanished_bytes - (unexplained if whole else 0)
        if vanished > 0:
            left[LeftReason.VANISHED] = vanished
        return left


def _sum(one: Mapping[LeftReason, int], other: Mapping[LeftReason, int]) -> dict[LeftReason, int]:
    return {reason: one.get(reason, 0) + other.get(reason, 0) for reason in [*one, *(other.keys() - one.keys())]}


def growth(before: MigrationCounters, after: MigrationCounters) -> MigrationCounters:
    """What the counters gained."""
    return MigrationCounters(*(getattr(after, f.name) - getattr(before, f.name) for f in fields(MigrationCounters)))


def final_state(left: Mapping[LeftReason, int], cancelled: str | None, failed: str | None) -> MoveState:
    """How a move ended."""
    if failed is not None:
        return MoveState.FAILED
    if cancelled is not None:
        return MoveState.SUPERSEDED if cancelled.startswith("superseded") else MoveState.CANCELLED
    stayed = set(left) - {LeftReason.VANISHED, LeftReason.KEPT_BY_POLICY, LeftReason.ZERO_PAGE}
    return MoveState.PARTIAL if stayed else MoveState.COMPLETED


def in_words(moved_bytes: int, left: Mapping[LeftReason, int], cancelled: str | None, failed: str | None) -> str:
    """One line for people: what moved, what stayed and why."""
    said = f"moved {size(moved_bytes)}"
    if left:
        parts = sorted(left.items(), key=lambda item: -item[1])
        said += "; left " + ", ".join(f"{size(b)} {reason.value}" for reason, b in parts)
    ended = failed or cancelled
    return f"{ended}; {said}" if ended else said


def size(size_bytes: int) -> str:
    """Bytes for people."""
    return f"{size_bytes / MIB:.1f} MB" if size_bytes >= MIB // 10 else f"{size_bytes} bytes"


def new_pages_in_words(policy: MemoryPolicy, nodes: Nodes, home: Nodes, mems: Nodes) -> str:
    """Where the task's next pages will land if that is not home, and what to change; empty if they land at home."""
    words = _POLICY_WORDS.get(policy)
    if words is not None and not (nodes and nodes <= home):
        bound = format_id_list(nodes) or "unknown"
        return words.format(nodes=bound, home=format_id_list(home))
    if mems and not home & mems:
        return (
            f"New pages land on nodes {format_id_list(mems)}: the task's cpuset.mems allows no other;"
            f" write {format_id_list(home)} to cpuset.mems."
        )
    return ""


_POLICY_WORDS: Mapping[MemoryPolicy, str] = {
    MemoryPolicy.BIND: "The task is bound to nodes {nodes} (MPOL_BIND): its new pages land there, not at home {home}."
    " Only the task itself can change that (set_mempolicy, mbind); or start it with numactl --membind={home},"
    " or write cpuset.mems, which rebinds it.",
    MemoryPolicy.PREFERRED: "The task prefers node {nodes} (MPOL_PREFERRED): its new pages land there while it has"
    " room, not at home {home}. Start it without numactl --preferred, or with --preferred={home}.",
    MemoryPolicy.PREFERRED_MANY: "The task prefers nodes {nodes} (MPOL_PREFERRED_MANY): its new pages land there"
    " while they have room, not at home {home}. Start it without that policy, or with one for {home}.",
    MemoryPolicy.INTERLEAVE: "The task interleaves its memory over nodes {nodes}: its new pages are spread over them."
    " Start it with numactl --interleave={home}, or without.",
    MemoryPolicy.WEIGHTED_INTERLEAVE: "The task interleaves its memory over nodes {nodes} by weight: its new pages"
    " are spread over them. Start it with --weighted-interleave={home}, or without.",
}
