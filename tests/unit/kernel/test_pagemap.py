"""The pagemap of this process, by entries and by ranges."""

import array
import asyncio
import ctypes
import errno
import mmap
import os
import platform
from collections.abc import Iterator

import pytest

from numaplace.kernel import frames, mempolicy, pagemap, pagemap_scan, syscalls
from numaplace.kernel.errors import KernelCallError, ProcessGone, Unsupported
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.kernel.pagemap_scan import PageCategory
from numaplace.kernel.policy import PolicyMode
from numaplace.kernel.syscalls import EventLoopBlocked

PAGES = 16


@pytest.fixture
def start() -> Iterator[int]:
    """Return the address of private memory of this process, whose first half is touched."""
    with mmap.mmap(-1, PAGES * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[: PAGES // 2 * PAGE_BYTES] = b"x" * (PAGES // 2 * PAGE_BYTES)
        hold = ctypes.c_char.from_buffer(memory)
        yield ctypes.addressof(hold)
        del hold


@pytest.fixture
def descriptor() -> Iterator[int]:
    """Return the pagemap of this process."""
    opened = pagemap.open_pagemap(os.getpid())
    yield opened
    os.close(opened)


def test_touched_pages_are_present_and_exclusive(start: int, descriptor: int) -> None:
    """A private page that was written is present and mapped once; one never touched is not there."""
    entries = array.array("Q", pagemap.read_entries(descriptor, start // PAGE_BYTES, PAGES))
    assert len(entries) == PAGES
    for entry in entries[: PAGES // 2]:
        assert entry & pagemap.PRESENT
        assert entry & pagemap.EXCLUSIVE
        assert not entry & (pagemap.SWAPPED | pagemap.FILE_OR_SHARED)
    assert not any(entry & pagemap.PRESENT for entry in entries[PAGES // 2 :])


@pytest.mark.usefixtures("privileged")
def test_frames_are_on_the_nodes_that_the_kernel_names(descriptor: int) -> None:
    """On every node of this host: a page's frame lies in the ranges of the node that move_pages says it is on."""
    ranges = frames.read_frame_ranges()
    for node in sorted(mempolicy.mems_allowed()):
        with mmap.mmap(-1, PAGES * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            hold = ctypes.c_char.from_buffer(memory)
            start = ctypes.addressof(hold)
            mempolicy.mbind(start, len(memory), PolicyMode.BIND, {node})
            memory[:] = b"x" * len(memory)
            entries = array.array("Q", pagemap.read_entries(descriptor, start // PAGE_BYTES, PAGES))
            addresses = array.array("Q", range(start, start + len(memory), PAGE_BYTES))
            status = array.array("i", [-1] * PAGES)
            assert syscalls.move_pages(0, addresses, None, status) == 0
            found = [entry & pagemap.FRAME_MASK for entry in entries]
            assert [r.node for frame in found for r in ranges if r.start <= frame < r.end] == status.tolist()
            assert status.tolist() == [node] * PAGES
            del hold


def test_entries_are_read_in_place_and_end_with_the_address_space(start: int, descriptor: int) -> None:
    """A buffer is filled where it is; beyond the last address there is nothing, and that is told by the count."""
    buffer = array.array("Q", [0] * PAGES)
    assert pagemap.read_entries_into(descriptor, start // PAGE_BYTES, buffer) == PAGES
    assert buffer[0] & pagemap.PRESENT
    assert pagemap.read_entries_into(descriptor, 1 << 58, buffer) == 0
    assert pagemap.read_entries(descriptor, 1 << 58, 4) == b""
    with pytest.raises(ValueError, match="entries"):
        pagemap.read_entries_into(descriptor, 0, bytearray(12))


def test_pagemap_of_nobody_is_refused(gone: int) -> None:
    """A process that is gone has none; a descriptor that is none is an error."""
    with pytest.raises(ProcessGone):
        pagemap.open_pagemap(gone)
    with pytest.raises(KernelCallError) as caught:
        pagemap.read_entries(-1, 0, 1)
    assert caught.value.errno == errno.EBADF


def test_scan_finds_the_touched_half(start: int, descriptor: int) -> None:
    """On a kernel with the ioctl the present range is exact; a kernel without it is older than 6.7 and says so."""
    end = start + PAGES * PAGE_BYTES
    try:
        scan = pagemap_scan.scan(descriptor, start, end)
    except Unsupported:
        major, minor = platform.release().split(".")[:2]
        assert (int(major), int(minor)) < (6, 7)
        return
    assert scan.walk_end == end
    assert sum(region.end - region.start for region in scan.regions) == PAGES // 2 * PAGE_BYTES
    assert all(region.categories & PageCategory.PRESENT for region in scan.regions)
    absent = pagemap_scan.scan(descriptor, start, end, inverted=PageCategory.PRESENT)
    assert sum(region.end - region.start for region in absent.regions) == PAGES // 2 * PAGE_BYTES


def test_scan_goes_on_where_it_ended(descriptor: int) -> None:
    """With room for one range at a time, going on from the walk's end finds the same as one scan does."""
    top = 1 << 46
    try:
        whole = pagemap_scan.scan(descriptor, 0, top, regions_max=100_000)
    except Unsupported:
        major, minor = platform.release().split(".")[:2]
        assert (int(major), int(minor)) < (6, 7)
        return
    pieces: list[pagemap_scan.Region] = []
    at = 0
    while at < top:
        piece = pagemap_scan.scan(descriptor, at, top, regions_max=8)
        assert piece.walk_end > at
        pieces += piece.regions
        at = piece.walk_end
    # The interpreter allocates while it scans, so the far ends may differ: the first ranges do not.
    assert [region.start for region in pieces[:3]] == [region.start for region in whole.regions[:3]]


def test_scan_refuses_an_event_loop(descriptor: int) -> None:
    """A scan of a large process takes long: not on the loop's thread."""

    async def main() -> None:
        with pytest.raises(EventLoopBlocked):
            pagemap_scan.scan(descriptor, 0, PAGE_BYTES)

    asyncio.run(main())
