"""Pages that are there although `move_pages` says that they are not, and how they are made visible.

AutoNUMA marks pages by taking all rights from their table entries. From Linux 6.1 to 6.4 `move_pages` takes such a page
for absent, moving and asking (see `numaplace.kernel.syscalls`): of a job that touches little, half would stay behind.
The mark goes when the page is touched, so one byte of it is read. Rules:

- Only pages that pagemap calls present are read: reading an absent one would fault it in.
- Only kernels that hide such pages are read from: elsewhere what seems absent is, and reading could only wait for
  whoever is behind the page.
- The kernel takes the reading for a sign of where the page is wanted, and would carry it to the reader's node. It does
  not while the reading thread has a memory policy of its own (mm/mempolicy.c, mpol_misplaced).
"""

import ctypes
import errno
import functools
import mmap
from contextlib import AbstractContextManager
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from node_agent.core.pages import Addresses, Ints, Mask
from node_agent.linux.memory import ProcessMemory
from numaplace.kernel.errors import Denied, KernelCallError, Unsupported, translate
from numaplace.kernel.pagemap import PAGE_BYTES, PRESENT, read_entries_into
from numaplace.kernel.policy import PolicyMode
from numaplace.kernel.syscalls import PIECES_MAX, libc_function, move_pages, process_vm_readv
from numaplace.mempolicy.policies import policy

_GAP_PAGES_MAX = 512
"""Entries so close together are read in one go: reading what lies between is cheaper than another system call."""


@functools.cache
def kernel_hides() -> bool:
    """Whether `move_pages` takes pages without rights for absent here: found out on one of our own."""
    with mmap.mmap(-1, PAGE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area[0] = 1
        page = np.frombuffer(area, np.uint8)
        address = page.__array_interface__["data"][0]
        del page
        said = np.zeros(1, np.int32)
        _set_rights(address, 0)
        try:
            move_pages(0, np.array([address], np.uint64).data, None, said.data)
        finally:
            _set_rights(address, mmap.PROT_READ | mmap.PROT_WRITE)
    return int(said[0]) == -errno.ENOENT


def _set_rights(address: int, rights: int) -> None:
    if libc_function("mprotect")(ctypes.c_void_p(address), ctypes.c_size_t(PAGE_BYTES), ctypes.c_int(rights)) != 0:
        raise translate("mprotect", ctypes.get_errno())


def located(memory: ProcessMemory, addresses: Addresses) -> Ints:
    """Where each of these present pages is, or a negated errno."""
    return found_again(memory, addresses, memory.query(addresses))


def found_again(memory: ProcessMemory, addresses: Addresses, said: Ints) -> Ints:
    """What was said of each page, by its move or a query, but where it is for those that only seemed absent.

    They are asked for anew: of zero pages it is said too that they are absent, and always will be.
    """
    nodes = said.copy()
    hidden = np.flatnonzero((said == -errno.ENOENT) | (said == -errno.EFAULT))
    for at in range(0, len(hidden), PIECES_MAX):
        # A part at a time, or AutoNUMA comes by again before the first of them are asked for.
        part = hidden[at : at + PIECES_MAX]
        part = part[memory.reveal(addresses[part])]
        if len(part):
            nodes[part] = memory.query(addresses[part])
    return nodes


def present_at(descriptor: int, addresses: Addresses) -> Mask:
    """Whether each of these pages is present by its process's pagemap; the addresses in any order.

    An entry without rights, such as a marked one, counts as present; one under migration does not.
    """
    order = np.argsort(addresses, kind="stable")
    pages = (addresses[order] // np.uint64(PAGE_BYTES)).view(np.int64)
    ascending = np.zeros(len(pages), np.bool_)
    breaks = np.flatnonzero(np.diff(pages) > _GAP_PAGES_MAX) + 1
    for first, last in pairwise([0, *breaks.tolist(), len(pages)]):
        if first < last:
            ascending[first:last] = _present_in_run(descriptor, pages[first:last])
    present = np.empty(len(pages), np.bool_)
    present[order] = ascending
    return present


def _present_in_run(descriptor: int, pages: NDArray[np.int64]) -> Mask:
    entries = np.zeros(int(pages[-1] - pages[0]) + 1, np.uint64)
    # What lies beyond the end of the address space is not read, and stays nought.
    read_entries_into(descriptor, int(pages[0]), entries.data)
    present: Mask = (entries[pages - pages[0]] & np.uint64(PRESENT)) != 0
    return present


def read_each(pid: int, addresses: Addresses) -> Mask:
    """Read a byte at each of these addresses of a process; which could be read.

    Raises:
        ProcessGone: it is.
        KernelCallError: the kernel is out of memory.
    """
    pieces = np.ones((len(addresses), 2), np.uint64)
    pieces[:, 0] = addresses
    into = np.empty(min(len(addresses), PIECES_MAX), np.uint8)
    readable = np.zeros(len(addresses), np.bool_)
    at = 0
    while at < len(addresses):
        part = pieces[at : at + PIECES_MAX]
        try:
            done = process_vm_readv(pid, part.ravel().data, into.data)
        except (Denied, Unsupported):
            break
        except KernelCallError as error:
            if error.errno != errno.EFAULT:
                raise
            done = 0
        readable[at : at + done] = True
        # The first that was not read could not be: on with the one behind it.
        at += done + (done < len(part))
    return readable


def staying_put() -> AbstractContextManager[None]:
    """Let pages that the calling thread reads in the block stay on their nodes, marked by AutoNUMA or not."""
    return policy(PolicyMode.LOCAL)
