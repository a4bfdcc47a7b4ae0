"""A move by hand: what a person or a program asks for beside the pages' way home, and what it would cost.

A follow move brings all of a task's pages home; a move by hand takes its pages from the nodes that are named, or the
very pages that a profiler names. Which pages stay, and why, is the same account in either case (model.move).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from numaplace.model.ids import NodeId, Nodes
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveProgress, Strategy

HAND_PREFIX = "hand-"
"""Ids of moves by hand begin so; no scheduler hears of them."""

PICKED_PAGES_MAX = 1 << 20
"""Of one move: 4 GiB in pages of 4 KiB."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """All of a target's pages on ``sources`` go to ``targets``, with the relative position that the kernel keeps.

    The n-th source goes to the n-th target where there are as many of each; a pair of equal nodes stays. Sets may
    overlap: {0,1} to {1,2} takes 1 to 2 first, then 0 to 1. Sets of unequal size have no pairs: then sources that are
    also targets are skipped, and the others are spread over the targets by free memory over distance (model.route).
    Pages on other nodes are never touched.
    """

    sources: Nodes
    targets: Nodes

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("name at least one node to move pages from")
        if not self.targets:
            raise ValueError("name at least one node to move pages to")


@dataclass(frozen=True, slots=True)
class PickedPages:
    """Pages of one process, each with the node it shall go to, in the order in which they shall go: hottest first.

    ``addresses``: any address inside the page, of whatever size. ``nodes``: the target of each, by position.
    ``shared``: also pages that strangers map (MPOL_MF_MOVE_ALL, which needs CAP_SYS_NICE); a root's agent does it for
    root alone.
    """

    addresses: tuple[int, ...]
    nodes: tuple[NodeId, ...]
    shared: bool = False

    def __post_init__(self) -> None:
        if not self.addresses:
            raise ValueError("name at least one page")
        if len(self.addresses) != len(self.nodes):
            raise ValueError(f"{len(self.addresses)} addresses and {len(self.nodes)} nodes: each page needs its node")
        if len(self.addresses) > PICKED_PAGES_MAX:
            raise ValueError(
                f"{len(self.addresses)} pages are too many for a move: set a page budget of {PICKED_PAGES_MAX} or less"
            )


HandMove = Transfer | PickedPages

HandEvent = MoveOrder | MoveProgress | MoveOutcome
"""What happens to a move by hand: its order once, progress some times a second, its outcome once and last."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a move by hand would take, from what is resident now; nothing was moved for it.

    ``move_bytes`` and ``left`` (by reason) are bytes; ``seconds`` and ``stall_ms`` as a MoveOutcome would give them,
    so far as earlier moves on this host tell.
    """

    move_bytes: int
    seconds: float
    stall_ms: float
    left: Mapping[LeftReason, int] = field(default_factory=dict)
    strategy: Strategy | None = None
    strategy_reason: str = ""


def is_idle(transfer: Transfer) -> bool:
    """Whether a transfer has nothing to take anywhere: each source is its own target, or is skipped as one."""
    if len(transfer.sources) == len(transfer.targets):
        return transfer.sources == transfer.targets
    return transfer.sources <= transfer.targets
