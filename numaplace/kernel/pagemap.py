"""/proc/PID/pagemap: eight bytes per page of address space, the cheapest way to see where pages are (26 ns a page).

Bits from Documentation/admin-guide/mm/pagemap.rst. Entries are in native byte order, whatever the architecture. This
package only reads them into a buffer; whoever wants them by the million looks at that buffer with NumPy.

Without CAP_SYS_ADMIN the frame numbers read as zero, and nothing fails: a present page of frame 0 means that.
"""

import errno
import os
from pathlib import Path
from typing import Final

from numaplace.kernel.errors import translate
from numaplace.kernel.files import HOST, process_error
from numaplace.kernel.syscalls import WritableBuffer

ENTRY_BYTES: Final = 8
FRAME_MASK: Final = (1 << 55) - 1
"""The page frame number, if the page is present (for a swapped one: type and offset of the swap)."""
SOFT_DIRTY: Final = 1 << 55
EXCLUSIVE: Final = 1 << 56
"""Mapped once only: a page without it needs MOVE_ALL, or is answered with EACCES."""
WRITE_PROTECTED: Final = 1 << 57
GUARD: Final = 1 << 58
FILE_OR_SHARED: Final = 1 << 61
SWAPPED: Final = 1 << 62
PRESENT: Final = 1 << 63

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
"""The size of a base page on this machine."""


def open_pagemap(pid: int, root: Path = HOST) -> int:
    """Return a file descriptor of a process's pagemap; it stays with that process's memory, even if the pid is reused.

    Raises:
        ProcessGone: the process does not exist (any more), or has no memory.
        Denied: no ptrace access.
        Unsupported: the kernel was built without it.
    """
    try:
        return os.open(f"{root}/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise process_error(root, pid, "pagemap", error) from error


def read_entries_into(descriptor: int, start_page: int, buffer: WritableBuffer) -> int:
    """Fill a buffer with the entries of the pages from `start_page` (an address divided by the page size).

    Args:
        descriptor: from `open_pagemap`.
        start_page: the first page.
        buffer: writable and contiguous, of a multiple of 8 bytes; filled in place.

    Returns:
        How many entries were read: fewer than fit if the address space ended, or the process exited.

    Raises:
        KernelCallError: the kernel refused.
        ValueError: the buffer's length is no multiple of an entry.
    """
    view = memoryview(buffer).cast("B")
    if len(view) % ENTRY_BYTES:
        raise ValueError(f"{len(view)} bytes are no whole number of pagemap entries")
    done = 0
    try:
        while done < len(view):
            count = os.preadv(descriptor, [view[done:]], start_page * ENTRY_BYTES + done)
            if count == 0:
                break
            done += count
    except OSError as error:
        raise translate("reading pagemap", error.errno or errno.EIO) from error
    return done // ENTRY_BYTES


def read_entries(descriptor: int, start_page: int, count: int) -> bytearray:
    """Return the entries of `count` pages from `start_page`, as `read_entries_into` gives them, cut where they end."""
    entries = bytearray(count * ENTRY_BYTES)
    del entries[read_entries_into(descriptor, start_page, entries) * ENTRY_BYTES :]
    return entries
