"""Picked pages: from a list of addresses to what the kernel moves, as arrays."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.pages import Pages, Region
from node_agent.core.picked import Picks, Wanted, folded, found, regions_at, stretches
from numaplace.model.ids import NodeId
from numaplace.model.residency import Backing

BASE, BLOCK = 4096, 2 << 20
STRETCH = 64 << 20

addresses = st.lists(st.integers(0, 1 << 30), min_size=1, max_size=60)


def picks_of(given_addresses: list[int]) -> Picks:
    """Each to a node of its own, so that it can be told which decided."""
    return Picks.of(given_addresses, [NodeId(n) for n in range(len(given_addresses))])


def pages_at(sizes: list[tuple[int, int]], frames: list[int] | None = None) -> Pages:
    """Pages at these addresses of these sizes, on node 7."""
    count = len(sizes)
    frames = frames or list(range(0, 1000 * count, 1000))
    return Pages(
        np.array([start for start, _ in sizes], np.uint64),
        np.full(count, 7, np.int32),
        np.array([size for _, size in sizes], np.int64),
        np.zeros(count, np.uint8),
        np.array(frames, np.uint64),
        np.zeros(count, np.uint8),
    )


@given(addresses, st.integers(0, 64))
def test_stretches_cover_every_pick_and_are_cut_where_huge_pages_end(listed: list[int], gap: int) -> None:
    """Each pick is in one stretch; none is longer than allowed, or wider than its picks and the gaps ask for."""
    seen: list[int] = []
    last_end = 0
    for start, end, picks in stretches(picks_of(listed), STRETCH, BLOCK, gap * BLOCK):
        assert start % BLOCK == end % BLOCK == 0
        assert last_end <= start < end
        assert start // STRETCH == (end - 1) // STRETCH
        inside = picks.addresses.tolist()
        assert start <= min(inside) < start + BLOCK
        assert end - BLOCK <= max(inside) < end
        assert all(b - a < (gap + 1) * BLOCK + BLOCK for a, b in pairwise(inside))
        seen += inside
        last_end = end
    assert seen == sorted(listed)


@given(
    st.lists(st.tuples(st.sampled_from((BASE, 4 * BASE, BLOCK)), st.booleans()), min_size=1, max_size=20),
    st.lists(st.integers(0, 20 * BLOCK), min_size=1, max_size=60),
)
def test_each_page_is_found_once_and_goes_where_its_hottest_pick_wants_it(
    layout: list[tuple[int, bool]], listed: list[int]
) -> None:
    """By any address inside; an address in a hole is missing."""
    at, sizes = 0, []
    for size, there in layout:
        at = -(-at // size) * size
        if there:
            sizes.append((at, size))
        at += size
    picks = picks_of(listed)
    wanted, missing = found(picks, pages_at(sizes))
    expected: dict[int, int] = {}
    for rank, address in enumerate(listed):
        page = next((start for start, size in sizes if start <= address < start + size), None)
        if page is not None:
            expected.setdefault(page, rank)
    assert dict(zip(wanted.pages.addresses.tolist(), wanted.ranks.tolist(), strict=True)) == expected
    assert wanted.targets.tolist() == wanted.ranks.tolist()
    nowhere = [a for a in listed if not any(start <= a < start + size for start, size in sizes)]
    assert sorted(picks.addresses[missing].tolist()) == sorted(nowhere)
    assert wanted.hottest_first().ranks.tolist() == sorted(expected.values())


def test_a_larger_page_that_is_mapped_by_base_pages_is_one_entry() -> None:
    """Its tails are taken with what comes before them, in memory and in the address space; a lone tail stands alone."""
    sizes = [(page * BASE, BASE) for page in (0, 1, 2, 3, 4, 6, 7)]
    pages = pages_at(sizes, frames=[16, 17, 18, 40, 41, 43, 90])
    tails = np.array([False, True, True, True, True, True, True])
    whole = folded(pages, tails)
    assert whole.addresses.tolist() == [0, 3 * BASE, 6 * BASE, 7 * BASE]
    assert whole.sizes.tolist() == [3 * BASE, 2 * BASE, BASE, BASE]
    assert folded(pages, np.zeros(7, np.bool_)) is pages


def test_what_is_in_place_is_not_misplaced() -> None:
    """Page by page, whatever others want."""
    wanted = Wanted(pages_at([(0, BASE), (BASE, BASE)]), np.arange(2), np.array([7, 3], np.int32))
    assert wanted.misplaced.tolist() == [False, True]


def test_addresses_outside_every_region_are_in_none() -> None:
    """Starts are inside, ends are not; without regions all are outside."""
    regions = [Region(100, 200, Backing.PRIVATE), Region(300, 400, Backing.FILE)]
    at = np.array([99, 100, 199, 200, 300, 400], np.uint64)
    assert regions_at(at, regions).tolist() == [-1, 0, 0, -1, 1, -1]
    assert regions_at(at, []).tolist() == [-1] * 6
