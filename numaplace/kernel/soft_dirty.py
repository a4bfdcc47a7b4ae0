"""Soft-dirty bits: clear them all, and each page's next write faults once and sets its own again.

Documentation/admin-guide/mm/soft-dirty.rst; needs CONFIG_MEM_SOFT_DIRTY. The
clearing holds the process's mmap lock for a walk over all of its page tables, and flushes its TLB; a THP has one bit.
Whoever else watches the same bits (CRIU) is disturbed.
"""

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

from numaplace.kernel.files import HOST, process_error
from numaplace.kernel.pagemap import PAGE_BYTES, SOFT_DIRTY, open_pagemap, read_entries
from numaplace.kernel.syscalls import forbid_event_loop

_CLEAR: Final = b"4\n"


def clear_soft_dirty(pid: int, root: Path = HOST) -> None:
    """Clear the soft-dirty bits of all pages of a process.

    Raises:
        ProcessGone: it does not exist (any more), or has no memory.
        Denied: neither its owner nor root.
        EventLoopBlocked: on an event loop's thread.
    """
    forbid_event_loop("clear_refs")
    try:
        descriptor = os.open(f"{root}/proc/{pid}/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, _CLEAR)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise process_error(root, pid, "clear_refs", error) from error


def has_soft_dirty() -> bool:
    """Whether this kernel keeps the bits: a page of ours that was just written then has one. Raises KernelCallError."""
    written = ctypes.create_string_buffer(b"written")
    descriptor = open_pagemap(os.getpid())
    try:
        entry = int.from_bytes(read_entries(descriptor, ctypes.addressof(written) // PAGE_BYTES, 1), sys.byteorder)
    finally:
        os.close(descriptor)
    return bool(entry & SOFT_DIRTY)
