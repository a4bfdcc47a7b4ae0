"""What this kernel and this process's rights allow, tried on a page of this process's own, without moving anything.

Versions say nothing, since vendors backport, and a seccomp filter or an LSM forbids what a capability would allow: so
each call is made, in a way that changes nothing for anybody, and its refusal is the answer. Each trial returns if the
door is open and raises if it is not: Unsupported where the kernel does not have it, Denied where the caller may not.
"""

import ctypes
import errno
import mmap
import os
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager

from numaplace.kernel import mempolicy, pagemap, pagemap_scan, syscalls
from numaplace.kernel.errors import Denied, KernelCallError, Unsupported
from numaplace.kernel.policy import ModeFlag, MoveFlag, PolicyMode
from numaplace.kernel.soft_dirty import has_soft_dirty
from numaplace.kernel.status import read_status

_USER_MODE_ONLY = 1
"""UFFD_USER_MODE_ONLY of linux/userfaultfd.h: faults of the kernel on our behalf are not wanted."""


@contextmanager
def _own_page() -> Iterator[int]:
    """The address of a page of our own that is there, in a mapping of its own."""
    with mmap.mmap(-1, pagemap.PAGE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area[0] = 1
        holder = ctypes.c_char.from_buffer(area)
        try:
            yield ctypes.addressof(holder)
        finally:
            del holder  # a mapping that is pointed to cannot be closed


def _own_node() -> int:
    """A node that we may use: asked of a file, as each call may be the one that is forbidden."""
    return min(read_status(os.getpid()).mems_allowed)


def move_own_page(*, move_all: bool = False) -> None:
    """Try `move_pages`: a page is asked for, and moved to where it lies.

    Raises:
        Unsupported: the kernel was built without it.
        Denied: MOVE_ALL without CAP_SYS_NICE, or a filter in the way.
        KernelCallError: anything else.
    """
    with _own_page() as address:
        pages, status = array("Q", (address,)), array("i", (0,))
        syscalls.move_pages(0, pages, None, status)
        node = array("i", (max(0, status[0]),))
        syscalls.move_pages(0, pages, node, status, move_all=move_all)


def migrate_own_pages() -> None:
    """Try `migrate_pages`: from a node to itself. Raises as `move_own_page`."""
    syscalls.migrate_pages(0, {_own_node()}, {_own_node()})


def bind_own_page(mode: PolicyMode = PolicyMode.BIND) -> None:
    """Try `mbind` with a mode, for a page of our own, which may come to another of our nodes.

    Raises:
        Unsupported: the kernel was built without NUMA, or does not know the mode.
        Denied: a filter in the way.
        KernelCallError: anything else.
    """
    with _own_page() as address, _unknown_mode():
        mempolicy.mbind(address, pagemap.PAGE_BYTES, mode, {_own_node()}, ModeFlag.NONE, MoveFlag.MOVE)


@contextmanager
def _unknown_mode() -> Iterator[None]:
    """EINVAL for arguments that are all right but for the mode: the kernel does not know it."""
    try:
        yield
    except KernelCallError as error:
        if error.errno != errno.EINVAL:
            raise
        raise Unsupported(error.call, errno.EINVAL) from error


def set_own_policy() -> None:
    """Try `set_mempolicy`: this thread's policy is set to what it is. Raises as `bind_own_page`."""
    now = mempolicy.get_mempolicy()
    mempolicy.set_mempolicy(now.mode, now.nodes, now.flags)


def set_own_home_node() -> None:
    """Try `set_mempolicy_home_node` on a page of our own. Raises as `bind_own_page`."""
    with _own_page() as address:
        node = _own_node()
        mempolicy.mbind(address, pagemap.PAGE_BYTES, PolicyMode.BIND, {node})
        mempolicy.set_mempolicy_home_node(address, pagemap.PAGE_BYTES, node)


@contextmanager
def _own_pagemap() -> Iterator[int]:
    descriptor = pagemap.open_pagemap(os.getpid())
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def scan_own_page() -> None:
    """Try PAGEMAP_SCAN. Raises Unsupported before Linux 6.7, KernelCallError."""
    with _own_page() as address, _own_pagemap() as descriptor:
        pagemap_scan.scan(descriptor, address, address + pagemap.PAGE_BYTES)


def _own_entry() -> int:
    with _own_page() as address, _own_pagemap() as descriptor:
        entries = pagemap.read_entries(descriptor, address // pagemap.PAGE_BYTES, 1)
    return int.from_bytes(entries, sys.byteorder)


def see_own_frame() -> None:
    """Look at the frame number of a page of our own. Raises Denied if it reads as zero, KernelCallError."""
    if not _own_entry() & pagemap.FRAME_MASK:
        raise Denied("reading frame numbers", errno.EPERM)


def see_own_write() -> None:
    """Look for the soft-dirty bit of a page that was just written. Raises Unsupported without it, KernelCallError."""
    if not has_soft_dirty():
        raise Unsupported("tracking writes by soft-dirty bits", errno.EOPNOTSUPP)


def open_userfaultfd() -> None:
    """Try `userfaultfd`, for faults in user mode only. Raises Unsupported, Denied, KernelCallError."""
    flags = ctypes.c_int(os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY)
    os.close(syscalls.system_call("userfaultfd", flags))
