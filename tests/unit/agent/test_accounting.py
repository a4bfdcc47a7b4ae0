"""The account of a move: no byte appears or is lost in it, and its words say what it says."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.accounting import Ledger, final_state, growth, in_words, new_pages_in_words, reason_of
from node_agent.core.batches import Verdict
from numaplace.model.ids import NodeId
from numaplace.model.job import MemoryPolicy
from numaplace.model.move import LeftReason, MigrationCounters, MoveState
from numaplace.model.residency import Cell, PageKind, PageSize

cells = st.builds(
    Cell, st.integers(0, 2).map(NodeId), st.sampled_from(PageSize), st.sampled_from((PageKind.ANON, PageKind.FILE))
)
lefts = st.dictionaries(st.sampled_from(LeftReason), st.integers(1, 1 << 40))
sizes = st.integers(0, 1 << 40)


@given(start=st.dictionaries(cells, sizes), moves=st.lists(st.tuples(cells, cells, st.integers(0, 100))))
def test_moving_changes_the_places_of_bytes_and_not_their_sum(
    start: dict[Cell, int], moves: list[tuple[Cell, Cell, int]]
) -> None:
    """As long as nothing moves that was not there; what grew meanwhile makes no cell negative."""
    ledger = Ledger(dict(start))
    for source, target, share in moves:
        size = ledger.cells.get(source, 0) * share // 100
        ledger.move(source, target, size)
    assert ledger.residency().resident_bytes == sum(start.values())
    grown = Ledger({})
    for source, target, share in moves:
        grown.move(source, target, share)
    assert grown.moved_bytes == sum(share for *_, share in moves)
    assert all(size > 0 for size in grown.residency().cells.values())


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("kind", PageKind)
@pytest.mark.parametrize("size", PageSize)
def test_every_page_that_stays_has_a_reason(verdict: Verdict, kind: PageKind, size: PageSize) -> None:
    """None is for those that moved, or are to be tried again; a refused page of a file is busy, not pinned."""
    reason = reason_of(verdict, kind, size)
    assert (reason is None) == (verdict in (Verdict.MOVED, Verdict.UNTRIED))
    if verdict is Verdict.REFUSED:
        assert reason is (LeftReason.BUSY if kind is PageKind.FILE else LeftReason.PINNED)
    if verdict is Verdict.FULL:
        assert reason is (LeftReason.HUGETLB_POOL if size is PageSize.HUGETLB else LeftReason.TARGET_FULL)


@pytest.mark.parametrize(
    ("left", "cancelled", "failed", "state"),
    [
        ({}, None, None, MoveState.COMPLETED),
        ({LeftReason.PINNED: 1}, None, None, MoveState.PARTIAL),
        ({LeftReason.VANISHED: 1, LeftReason.KEPT_BY_POLICY: 1, LeftReason.ZERO_PAGE: 1}, None, None,
         MoveState.COMPLETED),
        ({}, "superseded: by n", None, MoveState.SUPERSEDED),
        ({}, "not wanted", None, MoveState.CANCELLED),
        ({}, "not wanted", "it broke", MoveState.FAILED),
    ],
)  # fmt: skip
def test_the_end_is_what_the_account_says(
    left: Mapping[LeftReason, int], cancelled: str | None, failed: str | None, state: MoveState
) -> None:
    """Completed only if all that could move did; a fault before a cancellation before what was left."""
    assert final_state(left, cancelled, failed) is state


@given(left=lefts, moved=sizes, ended=st.sampled_from((None, "not wanted")))
def test_the_words_name_every_reason_the_largest_first(
    left: dict[LeftReason, int], moved: int, ended: str | None
) -> None:
    """And why it ended early, before anything else."""
    words = in_words(moved, left, ended, None)
    assert words.startswith("not wanted; moved " if ended else "moved ")
    ordered = sorted(left.items(), key=lambda item: -item[1])
    found = [words.index(f" {reason.value}") for reason, _ in ordered]
    assert len(found) == len(left)
    by_size = [size for _, size in ordered]
    if len(set(by_size)) == len(by_size):
        assert found == sorted(found)


def test_growth_is_counter_by_counter() -> None:
    """Five counters, none mistaken for another."""
    before, after = MigrationCounters(1, 2, 3, 4, 5), MigrationCounters(11, 22, 33, 44, 55)
    assert growth(before, after) == MigrationCounters(10, 20, 30, 40, 50)


HOME, OLD = frozenset({NodeId(1)}), frozenset({NodeId(0)})


@pytest.mark.parametrize("policy", MemoryPolicy)
def test_new_pages_that_land_elsewhere_are_said_with_what_to_change(policy: MemoryPolicy) -> None:
    """A policy for other nodes is named with a remedy; one for home, or the default, is nothing to say."""
    elsewhere = new_pages_in_words(policy, OLD, HOME, OLD | HOME)
    speaks = policy not in (MemoryPolicy.DEFAULT, MemoryPolicy.LOCAL)
    assert bool(elsewhere) is speaks
    assert not speaks or ("0" in elsewhere and ("tart it" in elsewhere or "set_mempolicy" in elsewhere))
    assert new_pages_in_words(policy, HOME, HOME, OLD | HOME) == ""


def test_a_cpuset_that_forbids_home_is_said() -> None:
    """Whatever the policy, the next pages cannot land at home."""
    assert "write 1 to cpuset.mems" in new_pages_in_words(MemoryPolicy.DEFAULT, frozenset(), HOME, OLD)
