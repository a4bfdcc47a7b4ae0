"""The PAGEMAP_SCAN ioctl (Linux 6.7): which ranges of a process are present, huge, of a file or swapped.

It answers in ranges instead of eight bytes a page, and names THPs, which the pagemap itself does not; it knows nothing
of nodes. Structures from include/uapi/linux/fs.h. `_IOWR` puts the direction into other bits on ppc64le than
elsewhere, but read-and-write comes to the same number on all architectures of `arch`.
"""

import array
import enum
import errno
import fcntl
import struct
from dataclasses import dataclass
from typing import Final

from numaplace.kernel.errors import KernelFormatError, translate
from numaplace.kernel.syscalls import forbid_event_loop

PAGEMAP_SCAN: Final = 0xC060_6610
_ARGUMENT = struct.Struct("=12Q")  # size flags start end walk_end vec vec_len max_pages inverted mask anyof return
_WALK_END = 4
_REGION_WORDS = 3


class PageCategory(enum.IntFlag):
    """What the scan tells of a page."""

    WP_ALLOWED = 1 << 0
    WRITTEN = 1 << 1
    FILE = 1 << 2
    PRESENT = 1 << 3
    SWAPPED = 1 << 4
    ZERO = 1 << 5
    HUGE = 1 << 6
    SOFT_DIRTY = 1 << 7


NO_CATEGORY: Final = PageCategory(0)


@dataclass(frozen=True, slots=True)
class Region:
    """A range of addresses `[start, end)` whose pages have the same of the asked categories."""

    start: int
    end: int
    categories: PageCategory


@dataclass(frozen=True, slots=True)
class Scan:
    """The ranges found, ascending, and where the walk ended: short of the asked end if there were too many ranges."""

    regions: tuple[Region, ...]
    walk_end: int


def scan(  # noqa: PLR0917 - a range, then what to look for in it
    descriptor: int,
    start: int,
    end: int,
    required: PageCategory = PageCategory.PRESENT,
    any_of: PageCategory = NO_CATEGORY,
    inverted: PageCategory = NO_CATEGORY,
    returned: PageCategory = PageCategory.PRESENT | PageCategory.HUGE | PageCategory.FILE | PageCategory.ZERO,
    regions_max: int = 4096,
) -> Scan:
    """Scan a range of a process's address space.

    Args:
        descriptor: from `pagemap.open_pagemap`.
        start: the first address, page-aligned.
        end: the address after the last.
        required: only pages of all these categories.
        any_of: and of at least one of these, if any is given.
        inverted: categories that match where the page is *not* of them.
        returned: the categories to tell; ranges are cut where these change.
        regions_max: how many ranges to take at once; go on from `walk_end`.

    Raises:
        Unsupported: before Linux 6.7.
        KernelCallError: EINVAL for an unaligned start or a category this kernel does not know.
        KernelFormatError: the kernel filled the structures in another way.
        EventLoopBlocked: on an event loop's thread.
    """
    forbid_event_loop("PAGEMAP_SCAN")
    found = array.array("Q", bytes(8 * _REGION_WORDS * regions_max))
    words = (start, end, 0, found.buffer_info()[0], regions_max, 0, inverted, required, any_of, returned)
    argument = bytearray(_ARGUMENT.pack(_ARGUMENT.size, 0, *words))
    try:
        count = fcntl.ioctl(descriptor, PAGEMAP_SCAN, argument)
    except OSError as error:
        raise translate("PAGEMAP_SCAN", error.errno or errno.EIO) from error
    walk_end = _ARGUMENT.unpack(argument)[_WALK_END]
    if not 0 <= count <= regions_max or not start <= walk_end <= end:
        raise KernelFormatError("PAGEMAP_SCAN", f"{count} regions up to {walk_end:#x}")
    rows = range(0, _REGION_WORDS * count, _REGION_WORDS)
    return Scan(tuple(Region(found[i], found[i + 1], PageCategory(found[i + 2])) for i in rows), walk_end)
