"""Pages of a process that are there now, or were written since their soft-dirty bits were cleared.

By PAGEMAP_SCAN where the kernel has it (6.7), which answers in ranges; else entry by entry from the pagemap, of the
mappings that can be accessed at all: the address space that is only reserved is vast and empty.
"""

import array
import os
from collections.abc import Iterable, Iterator
from itertools import chain

from numaplace.kernel.errors import KernelCallError
from numaplace.kernel.maps import read_maps
from numaplace.kernel.pagemap import FRAME_MASK, PAGE_BYTES, PRESENT, SOFT_DIRTY, open_pagemap, read_entries
from numaplace.kernel.pagemap_scan import PageCategory, scan

_CHUNK_PAGES = 65_536
_KERNEL_FROM = 1 << 63


def written_pages(pid: int) -> Iterator[int]:
    """The addresses of present pages whose soft-dirty bit is set.

    Raises:
        ProcessGone: it does not exist (any more).
        Denied: no ptrace access.
    """
    descriptor = open_pagemap(pid)
    try:
        for start, end in _accessible(pid):
            yield from _written(descriptor, start, end)
    finally:
        os.close(descriptor)


def _written(descriptor: int, start: int, end: int) -> Iterator[int]:
    wanted = PageCategory.PRESENT | PageCategory.SOFT_DIRTY
    try:
        found = scan(descriptor, start, end, required=wanted, returned=wanted)
    except KernelCallError:
        # No such ioctl, or one that knows nothing of these bits yet: then page by page.
        for address, entry in _entries(descriptor, start, end):
            if entry & PRESENT and entry & SOFT_DIRTY:
                yield address
        return
    while True:
        for region in found.regions:
            yield from range(region.start, region.end, PAGE_BYTES)
        if found.walk_end >= end:
            return
        found = scan(descriptor, found.walk_end, end, required=wanted, returned=wanted)


def present_pages(pid: int, ranges: Iterable[tuple[int, int]] | None = None) -> Iterator[tuple[int, int]]:
    """The present pages in these ranges (ascending; None is everywhere): address, and frame number (0 if not told).

    Raises:
        ProcessGone: it does not exist (any more).
        Denied: no ptrace access.
    """
    descriptor = open_pagemap(pid)
    try:
        mapped = list(_accessible(pid))
        for start, end in mapped if ranges is None else _common(mapped, ranges):
            for address, entry in _entries(descriptor, start, end):
                if entry & PRESENT:
                    yield address, entry & FRAME_MASK
    finally:
        os.close(descriptor)


def _accessible(pid: int) -> Iterator[tuple[int, int]]:
    for mapping in read_maps(pid):
        accessible = mapping.readable or mapping.writable or mapping.executable
        if accessible and mapping.end <= _KERNEL_FROM:
            yield mapping.start, mapping.end


def _entries(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    for chunk in range(start // PAGE_BYTES, end // PAGE_BYTES, _CHUNK_PAGES):
        count = min(_CHUNK_PAGES, end // PAGE_BYTES - chunk)
        entries = array.array("Q", bytes(read_entries(descriptor, chunk, count)))
        yield from zip(range(chunk * PAGE_BYTES, (chunk + len(entries)) * PAGE_BYTES, PAGE_BYTES), entries, strict=True)


def _common(mapped: list[tuple[int, int]], ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is in both, whole pages; both ascend and do not overlap themselves."""
    bounds = sorted(
        chain(
            *(((start, 0, 1), (end, 0, -1)) for start, end in mapped),
            *(((start - start % PAGE_BYTES, 1, 1), (end - end % PAGE_BYTES, 1, -1)) for start, end in ranges),
        )
    )
    inside = [0, 0]
    began = 0
    for at, which, step in bounds:
        if inside == [1, 1] and at > began:
            yield began, at
        inside[which] += step
        began = at
