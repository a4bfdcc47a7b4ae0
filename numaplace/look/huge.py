"""How much of each mapping is mapped by transparent huge pages, which numa_maps counts as base pages.

From Linux 6.7 the PAGEMAP_SCAN ioctl tells it in passing, a gigabyte of address space at a time so that the mmap lock
is never held for long; before, smaps does. Neither is asked about mappings that have no room for a huge page.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from numaplace.kernel.errors import Unsupported
from numaplace.kernel.files import HOST
from numaplace.kernel.pagemap_scan import PageCategory, scan
from numaplace.kernel.smaps import read_huge_bytes

_RANGE_BYTES = 1 << 30
_WANTED = PageCategory.PRESENT | PageCategory.HUGE | PageCategory.ZERO


def huge_bytes(pid: int, descriptor: int, places: Sequence[tuple[int, int]], root: Path = HOST) -> Mapping[int, int]:
    """Bytes under transparent huge pages by a mapping's start; mappings without any are left out.

    Args:
        pid: the process.
        descriptor: its pagemap.
        places: start and end of the mappings that are asked about.
        root: the host.

    Raises:
        KernelCallError: the process has gone, or is not ours to see.
    """
    if not places:
        return {}
    try:
        return {start: size for start, end in places if (size := _scanned(descriptor, start, end))}
    except Unsupported:
        return read_huge_bytes(pid, root)


def _scanned(descriptor: int, start: int, end: int) -> int:
    """Huge pages of `[start, end)`, without the kernel's huge page of zeros, which is nobody's memory."""
    found = 0
    while start < end:
        upto = min(end, start + _RANGE_BYTES)
        seen = scan(descriptor, start, upto, _WANTED, inverted=PageCategory.ZERO, returned=PageCategory.HUGE)
        found += sum(region.end - region.start for region in seen.regions)
        # The walk ends early if it met more ranges than there was room for, never where it began.
        start = seen.walk_end
    return found
