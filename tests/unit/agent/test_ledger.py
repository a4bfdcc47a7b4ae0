"""The account of a move: whatever happens to pages under way, each byte is in it once at most."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.accounting import Ledger
from numaplace.model.ids import NodeId
from numaplace.model.move import LeftReason
from numaplace.model.residency import Cell, PageKind, PageSize

HERE = Cell(NodeId(0), PageSize.BASE, PageKind.ANON)
HOME = Cell(NodeId(1), PageSize.BASE, PageKind.ANON)
SIZE = 4096

PAGES_MAX = 12
FATES = ("moved", "busy", "pinned", "hidden", "freed", "unmet")
"""What may become of a page in a pass; hidden ones are said to be gone and are not, unmet ones nobody asks for."""
passes = st.lists(
    st.tuples(
        st.lists(st.sampled_from(FATES), min_size=PAGES_MAX, max_size=PAGES_MAX),
        st.integers(0, 3),
        st.sets(st.integers(0, PAGES_MAX - 1)),
    ),
    min_size=1,
    max_size=4,
)
"""Of each pass: the fates of the pages it finds, how many the job touches meanwhile, and which it frees afterwards."""


@dataclass
class _Move:
    """A move page by page, and the account of it."""

    away: list[int]
    touched: int
    ledger: Ledger = field(default_factory=lambda: Ledger({}))
    moved: int = 0
    freed: int = 0

    def carry_out(self, fates: list[str], touched: int, freed_later: set[int]) -> None:
        """One pass."""
        self.ledger.begin_pass()
        found, self.away = self.away, []
        for page, fate in zip(found, fates, strict=False):
            self._meet(page, fate)
        self.away += found[len(fates) :]
        self.away += range(self.touched, self.touched + touched)
        self.touched += touched
        kept = [page for at, page in enumerate(self.away) if at not in freed_later]
        self.freed += len(self.away) - len(kept)
        self.away = kept

    def _meet(self, page: int, fate: str) -> None:
        if fate == "moved":
            self.ledger.move(HERE, HOME, SIZE)
            self.moved += 1
            return
        if fate == "freed":
            self.ledger.leave(LeftReason.VANISHED, SIZE)
            self.freed += 1
            return
        reasons = {"busy": LeftReason.BUSY, "pinned": LeftReason.PINNED, "hidden": LeftReason.VANISHED}
        if fate in reasons:
            self.ledger.leave(reasons[fate], SIZE)
        self.away.append(page)


def _account(pages: int, story: list[tuple[list[str], int, set[int]]]) -> tuple[_Move, dict[LeftReason, int]]:
    move = _Move(list(range(pages)), pages)
    for fates, touched, freed_later in story:
        move.carry_out(fates, touched, freed_later)
    return move, move.ledger.final(len(move.away) * SIZE)


@given(st.integers(0, PAGES_MAX), passes)
def test_no_byte_is_counted_twice(pages: int, story: list[tuple[list[str], int, set[int]]]) -> None:
    """What was moved and what was left, for whatever reason, are never more than there ever was to move."""
    move, left = _account(pages, story)
    assert move.ledger.moved_bytes == move.moved * SIZE
    assert move.ledger.moved_bytes + sum(left.values()) <= move.touched * SIZE
    assert all(size > 0 for size in left.values())


@given(st.integers(0, PAGES_MAX), passes)
def test_every_byte_that_stayed_is_counted(pages: int, story: list[tuple[list[str], int, set[int]]]) -> None:
    """What lies away in the end is explained, and never as vanished; and no more vanished than was freed."""
    move, left = _account(pages, story)
    vanished = left.pop(LeftReason.VANISHED, 0)
    assert sum(left.values()) >= len(move.away) * SIZE
    assert vanished <= move.freed * SIZE


def test_a_move_that_was_cancelled_loses_nothing_of_what_vanished() -> None:
    """What it never came to is no sign that freed pages are still there."""
    move, _ = _account(10, [(["freed"] * 3 + ["moved"], 0, set())])
    left = move.ledger.final(len(move.away) * SIZE, whole=False)
    assert left == {LeftReason.VANISHED: 3 * SIZE, LeftReason.NOT_REACHED: 6 * SIZE}


def test_what_is_found_again_had_not_vanished() -> None:
    """Pages that the kernel does not find, pass after pass, are left; they have not vanished several times."""
    move, left = _account(10, [(["hidden"] * 10, 0, set())] * 4)
    assert left == {LeftReason.NOT_REACHED: 10 * SIZE}
    assert move.ledger.vanished_bytes == 10 * SIZE


def test_what_moves_in_a_later_pass_had_not_vanished() -> None:
    """The account of a page that was not found at first and moved later is that it moved."""
    move, left = _account(10, [(["hidden"] * 10, 0, set()), (["moved"] * 10, 0, set())])
    assert (move.ledger.moved_bytes, left) == (10 * SIZE, {})


def test_what_was_freed_under_way_has_vanished_in_whatever_pass() -> None:
    """Freed pages are met by no later pass: they add up."""
    first = ["freed"] * 3 + ["busy"] * 7
    move, left = _account(10, [(first, 0, set()), (["freed"] * 2 + ["moved"] * 5, 0, set())])
    assert (move.ledger.moved_bytes, left) == (5 * SIZE, {LeftReason.VANISHED: 5 * SIZE})
