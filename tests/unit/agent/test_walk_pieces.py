"""Pieces of a walk: a larger page that is mapped by base pages is never cut in two."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.pages import Pages
from node_agent.linux.walk import LARGER_PAGES_MAX, piece_end

BASE = 4096


def pages_of(folios: list[int]) -> tuple[Pages, list[int]]:
    """Base pages of larger pages of so many each, every one aligned to its size; and where each begins."""
    frames: list[int] = []
    heads: list[int] = []
    at = LARGER_PAGES_MAX
    for size in folios:
        at = -(-at // size) * size
        heads.append(len(frames))
        frames += range(at, at + size)
        at += size
    count = len(frames)
    return Pages(
        np.arange(count, dtype=np.uint64) * np.uint64(BASE),
        np.zeros(count, np.int32),
        np.full(count, BASE, np.int64),
        np.zeros(count, np.uint8),
        np.array(frames, np.uint64),
        np.zeros(count, np.uint8),
    ), heads


@given(
    folios=st.lists(st.sampled_from((1, 4, 16, 64, 512)), min_size=1, max_size=40),
    size_bytes=st.integers(BASE, 2000 * BASE),
)
def test_pieces_cover_everything_and_begin_with_a_head(folios: list[int], size_bytes: int) -> None:
    """Each is about as large as wanted: longer by less than the largest larger page."""
    pages, heads = pages_of(folios)
    at = 0
    while at < len(pages):
        assert at in heads
        end = piece_end(pages, at, size_bytes)
        assert at < end <= len(pages)
        assert (end - at) * BASE <= size_bytes + LARGER_PAGES_MAX * BASE
        at = end


def test_pieces_of_frames_that_are_not_seen_are_cut_anywhere() -> None:
    """Without frames nothing is folded either."""
    pages, _ = pages_of([512])
    unseen = Pages(pages.addresses, pages.nodes, pages.sizes, pages.flags, np.zeros(512, np.uint64), pages.kinds)
    assert piece_end(unseen, 0, 100 * BASE) == 100
