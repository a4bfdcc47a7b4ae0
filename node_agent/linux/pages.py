"""The pages of one process from /proc/PID/pagemap: 26 ns a page in the kernel, some more here, nothing stalled.

Huge pages are recognised, not guessed: a 2 MB block of addresses whose frames are aligned and contiguous is a
candidate, and the kpageflags of its first frame tell the truth, one 8-byte read per 512 pages. Pages of zeros (the
kernel's shared one) cost no memory and are left out; their frame is learned from a page of our own.

Without CAP_SYS_ADMIN frames read as zero. Then `move_pages` is asked for each page's node (193 ns a page), huge pages
are not recognised and count as base pages, and sharers are known only as "not exclusive".
"""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node_agent.core.pages import Addresses, Flags, Frames, Ints, Mask, PageFlag, Pages, Region
from node_agent.linux.frames import KPF_COMPOUND_TAIL, KPF_HUGE, KPF_THP, FrameFile, NodeTable
from numaplace.kernel.files import HOST
from numaplace.kernel.maps import Mapping, backing_of
from numaplace.kernel.pagemap import (
    EXCLUSIVE,
    FILE_OR_SHARED,
    FRAME_MASK,
    PAGE_BYTES,
    PRESENT,
    open_pagemap,
    read_entries_into,
)
from numaplace.model.residency import Backing

CHUNK_PAGES = 1 << 14
"""Pages of address space read at once: 128 KB of pagemap, which stays in the cache."""

_TOP_EXCLUSIVE = np.uint8(EXCLUSIVE >> 56)
_TOP_FILE = np.uint8(FILE_OR_SHARED >> 56)


def region_of(mapping: Mapping) -> Region:
    """What a line of maps is to a mover."""
    backing = backing_of(mapping)
    if backing is Backing.KERNEL:
        return Region(mapping.start, mapping.end, backing, mapping.name)
    if backing is Backing.PRIVATE:
        return Region(mapping.start, mapping.end, backing, "", mapping.start)
    name = f"{mapping.device[0]:x}:{mapping.device[1]:x}:{mapping.inode}" if mapping.inode else ""
    return Region(mapping.start, mapping.end, backing, name, mapping.offset)


class FrameReader:
    """Reads the pages of processes by their frames; one for the host, safe to use from several threads."""

    def __init__(self, table: NodeTable, flags_file: FrameFile, thp_bytes: int, zero_frame: int) -> None:
        self._table = table
        self._flags_file = flags_file
        self._thp_bytes = thp_bytes
        self._thp_pages = thp_bytes // PAGE_BYTES
        self._zero_frame = np.uint64(zero_frame)

    def read(self, descriptor: int, start: int, end: int) -> Pages:
        """The present pages in ``[start, end)`` of the process whose pagemap this is."""
        return Pages.joined([self._chunk(descriptor, a, b) for a, b in self._chunks(start, end)])

    def _chunks(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Chunks that end where a huge page can end."""
        step = CHUNK_PAGES * PAGE_BYTES
        while start < end:
            stop = min(end, (start // step + 1) * step)
            yield start, stop
            start = stop

    def _chunk(self, descriptor: int, start: int, end: int) -> Pages:
        buffer = np.empty((end - start) // PAGE_BYTES, np.uint64)
        entries = buffer[: read_entries_into(descriptor, start // PAGE_BYTES, buffer.data)]
        # Bit 63 is the sign of a signed number, and a comparison with nought the cheapest question there is.
        present = entries.view(np.int64) < 0
        addresses = np.arange(start, start + len(entries) * PAGE_BYTES, PAGE_BYTES, dtype=np.uint64)
        if not present.all():
            addresses, entries = addresses[present], entries[present]
        if not len(entries):
            return Pages.none()
        frames = entries & np.uint64(FRAME_MASK)
        pages = self._fold(addresses, frames, _flags_of(entries))
        real = pages.frames != self._zero_frame
        return pages if real.all() else pages.where(real)

    def _fold(self, addresses: Addresses, frames: Frames, flags: Flags) -> Pages:
        heads, kinds = self._huge_blocks(addresses, frames)
        sizes = np.full(len(addresses), PAGE_BYTES, np.int64)
        if len(heads):
            keep = np.ones(len(addresses), np.bool_)
            inside = heads[:, None] + np.arange(1, self._thp_pages)
            keep[inside.ravel()] = False
            sizes[heads] = self._thp_bytes
            flags[heads] |= kinds
            addresses, frames, flags, sizes = addresses[keep], frames[keep], flags[keep], sizes[keep]
        return Pages(addresses, self._table.nodes_of(frames), sizes, flags, frames, np.zeros(len(frames), np.uint8))

    def _huge_blocks(self, addresses: Addresses, frames: Frames) -> tuple[NDArray[np.int64], Flags]:
        """Where huge pages begin in these arrays, and what flags they get."""
        n = self._thp_pages
        nothing = np.empty(0, np.int64), np.empty(0, np.uint8)
        if not n or len(frames) < n:
            return nothing
        if int(addresses[-1]) - int(addresses[0]) == (len(addresses) - 1) * PAGE_BYTES:
            # Without holes the aligned addresses need no search.
            starts = np.arange(-(int(addresses[0]) // PAGE_BYTES) % n, len(frames) - n + 1, n)
        else:
            starts = np.flatnonzero((addresses & np.uint64(self._thp_bytes - 1)) == 0)
            starts = starts[starts + n <= len(frames)]
        first, last = frames[starts], frames[starts + n - 1]
        span = np.uint64(n - 1)
        whole = (first % np.uint64(n) == 0) & (last == first + span)
        whole &= addresses[starts + n - 1] == addresses[starts] + span * np.uint64(PAGE_BYTES)
        starts = starts[whole]
        starts = starts[self._contiguous(frames, starts)]
        if not len(starts):
            return nothing
        truth = self._flags_file.read(frames[starts])
        huge = (truth & (KPF_THP | KPF_HUGE)) != 0
        truth, starts = truth[huge], starts[huge]
        flags = np.where(truth & KPF_HUGE, np.uint8(PageFlag.HUGETLB), np.uint8(0))
        flags |= np.where(truth & KPF_COMPOUND_TAIL, np.uint8(PageFlag.TAIL), np.uint8(0))
        return starts, flags.astype(np.uint8)

    def _contiguous(self, frames: Frames, starts: NDArray[np.int64]) -> Mask:
        """Whether every block's middle agrees with its ends: a page may have been copied on write within."""
        if not len(starts):
            return np.empty(0, np.bool_)
        steps = np.concatenate([[0], np.cumsum(np.diff(frames) != 1)])
        same: Mask = steps[starts + self._thp_pages - 1] == steps[starts]
        return same


def _flags_of(entries: Frames) -> Flags:
    # Bits 56 and 61 are in the highest byte: looked at as bytes there is an eighth to read.
    top = (entries >> np.uint64(56)).astype(np.uint8)
    return (top & _TOP_EXCLUSIVE) | ((top & _TOP_FILE) >> np.uint8(4))


def own_zero_frame(root: Path = HOST) -> int:
    """The frame of the kernel's page of zeros, from a page of our own that was only read; 0 if not visible."""
    with mmap.mmap(-1, 2 * PAGE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            area.madvise(mmap.MADV_NOHUGEPAGE)
        _ = area[0]
        view = np.frombuffer(area, np.uint8)
        address = view.__array_interface__["data"][0]
        del view
        descriptor = open_pagemap(os.getpid(), root)
        try:
            entry = np.zeros(1, np.uint64)
            read_entries_into(descriptor, address // PAGE_BYTES, entry.data)
        finally:
            os.close(descriptor)
    value = int(entry[0])
    return value & FRAME_MASK if value & PRESENT else 0


class QueryReader:
    """Reads pages without frame numbers: presence from pagemap, nodes by asking `move_pages`."""

    def __init__(self, thp_bytes: int) -> None:
        self._thp_pages = thp_bytes // PAGE_BYTES

    def read(self, descriptor: int, start: int, end: int) -> tuple[Addresses, Flags]:
        """Addresses of present pages and their flags."""
        buffer = np.empty((end - start) // PAGE_BYTES, np.uint64)
        entries = buffer[: read_entries_into(descriptor, start // PAGE_BYTES, buffer.data)]
        present = np.flatnonzero(entries >> np.uint64(63))
        addresses = present.astype(np.uint64) * np.uint64(PAGE_BYTES) + np.uint64(start)
        return addresses, _flags_of(entries[present])

    @staticmethod
    def pages(addresses: Addresses, flags: Flags, nodes: Ints) -> Pages:
        """Pages of which the kernel said where they are; the others are left out."""
        here = nodes >= 0
        count = int(here.sum())
        sizes = np.full(count, PAGE_BYTES, np.int64)
        kinds = np.zeros(count, np.uint8)
        return Pages(addresses[here], nodes[here], sizes, flags[here], np.zeros(count, np.uint64), kinds)
