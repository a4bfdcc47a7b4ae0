"""Which blocks of a process are huge pages, so that what the kernel moves as one is chosen as one."""

import os
import sys
from collections.abc import Iterable, Iterator

from numaplace.kernel.errors import Denied, Unsupported
from numaplace.kernel.page_flags import huge_frames
from numaplace.kernel.pagemap import FRAME_MASK, PAGE_BYTES, PRESENT, open_pagemap, read_entries


def huge_blocks(pid: int, blocks: Iterable[int], block_bytes: int) -> frozenset[int]:
    """Those of the blocks, given by their addresses, that one huge page holds; none where frames are hidden.

    Raises:
        ProcessGone: it does not exist (any more).
        Denied: no ptrace access.
    """
    frames = dict(_frames(pid, blocks, block_bytes // PAGE_BYTES))
    try:
        huge = huge_frames(frames)
    except (Denied, Unsupported):
        # Then each page is chosen by itself, and of a huge one the hottest part has its way.
        return frozenset()
    return frozenset(block for frame, block in frames.items() if frame in huge)


def _frames(pid: int, blocks: Iterable[int], pages: int) -> Iterator[tuple[int, int]]:
    """The first frame of each block that is there from its first page to its last, in frames that lie in a row."""
    descriptor = open_pagemap(pid)
    try:
        for block in blocks:
            first, last = (_entry(descriptor, block // PAGE_BYTES + page) for page in (0, pages - 1))
            frame = first & FRAME_MASK
            if first & last & PRESENT and frame and frame % pages == 0 and last & FRAME_MASK == frame + pages - 1:
                yield frame, block
    finally:
        os.close(descriptor)


def _entry(descriptor: int, page: int) -> int:
    return int.from_bytes(read_entries(descriptor, page, 1), sys.byteorder)
