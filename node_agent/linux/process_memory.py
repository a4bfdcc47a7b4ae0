"""One process's memory on this host: its mappings, its pages, and the calls that move them.

The pagemap descriptor stays with the address space it was opened on and the pidfd with the process, so a reused pid is
never read; before a call by pid the pidfd says whether the process still lives. What a user asks for stops at an exec
of a program with other rights (a set-user-id one): the process is the same, but no more the user's to look into.
"""

import os
import select
from collections.abc import Sequence

import numpy as np

from node_agent.core.facts import ProcessRef
from node_agent.core.pages import Addresses, Ints, Mask, Pages, Region
from node_agent.linux.hidden import kernel_hides, located, present_at, read_each, staying_put
from node_agent.linux.memory import RegionPolicy
from node_agent.linux.pages import FrameReader, QueryReader, region_of
from node_agent.linux.privilege import without_nice
from numaplace.kernel import numa_maps, procfs
from numaplace.kernel.errors import KernelFormatError, ProcessGone, Unsupported
from numaplace.kernel.files import HOST, read_process_text
from numaplace.kernel.maps import read_maps
from numaplace.kernel.numa_maps import NumaMapping
from numaplace.kernel.pagemap import PAGE_BYTES, open_pagemap
from numaplace.kernel.policy import PolicyMode
from numaplace.kernel.syscalls import migrate_pages, move_pages, pidfd_open
from numaplace.model.ids import NodeId
from numaplace.model.job import MemoryPolicy

_HEAD_BYTES = 512
"""So much of numa_maps is read for the task's own policy: the lines of the program's text and data, small ones."""

_POLICIES = {
    PolicyMode.DEFAULT: MemoryPolicy.DEFAULT,
    PolicyMode.LOCAL: MemoryPolicy.LOCAL,
    PolicyMode.PREFERRED: MemoryPolicy.PREFERRED,
    PolicyMode.PREFERRED_MANY: MemoryPolicy.PREFERRED_MANY,
    PolicyMode.BIND: MemoryPolicy.BIND,
    PolicyMode.INTERLEAVE: MemoryPolicy.INTERLEAVE,
    PolicyMode.WEIGHTED_INTERLEAVE: MemoryPolicy.WEIGHTED_INTERLEAVE,
}


class LinuxProcessMemory:
    """A process's memory, open until `close`."""

    def __init__(self, ref: ProcessRef, reader: FrameReader | QueryReader, owner: int | None = None) -> None:
        """Open it; ``owner``: whose it must be as long as it is open, None for whosever it is.

        Raises:
            ProcessGone: the pid belongs to another process by now, or the process to another user.
            Denied: without the right.
        """
        self.ref = ref
        self._reader, self._owner = reader, owner
        self._pidfd = pidfd_open(ref.pid)
        try:
            self._check_identity()
            self._pagemap = open_pagemap(ref.pid)
        except BaseException:
            os.close(self._pidfd)
            raise
        try:
            self._check_alive("opening memory")
        except BaseException:
            self.close()
            raise

    def _check_identity(self) -> None:
        if procfs.read_identity(self.ref.pid).start_ticks != self.ref.start_ticks:
            raise ProcessGone("opening memory", 3, self.ref.pid)

    def alive(self) -> bool:
        """Whether the process has not exited: its pidfd is readable once it has."""
        # A poll object of its own for each question: they cannot be shared between threads.
        gone = select.poll()
        gone.register(self._pidfd, select.POLLIN)
        return not gone.poll(0)

    def _check_alive(self, call: str) -> None:
        if not self.alive() or (self._owner is not None and self._owner != procfs.read_owner(self.ref.pid)):
            raise ProcessGone(call, 3, self.ref.pid)

    def resident_bytes(self) -> int:
        """Its resident size by statm; hugetlb pages are not in it."""
        return procfs.read_stat(self.ref.pid).rss_pages * PAGE_BYTES

    def regions(self) -> Sequence[Region]:
        """Its mappings."""
        self._check_alive("reading maps")
        return [region_of(mapping) for mapping in read_maps(self.ref.pid)]

    def pages(self, start: int, end: int) -> Pages:
        """The present pages in a range."""
        if isinstance(self._reader, FrameReader):
            return self._reader.read(self._pagemap, start, end)
        addresses, flags = self._reader.read(self._pagemap, start, end)
        if not len(addresses):
            return Pages.none()
        return self._reader.pages(addresses, flags, located(self, addresses))

    def move(self, addresses: Addresses, nodes: Ints, status: Ints, *, move_all: bool) -> int:
        """move_pages(2)."""
        self._check_alive("move_pages")
        return move_pages(self.ref.pid, addresses.data, nodes.data, status.data, move_all=move_all)

    def query(self, addresses: Addresses) -> Ints:
        """Where each page is, or a negated errno."""
        self._check_alive("move_pages")
        status = np.zeros(len(addresses), np.int32)
        move_pages(self.ref.pid, addresses.data, None, status.data)
        return status

    def present(self, addresses: Addresses) -> Mask:
        """At which of these addresses a page is mapped, be it the kernel's page of zeros."""
        return present_at(self._pagemap, addresses)

    def reveal(self, addresses: Addresses) -> Mask:
        """Take AutoNUMA's mark off those that are present, by reading a byte of each: see `move_pages`.

        A page that leaves in the moment between the look at it and the reading is faulted in, as by its process. What
        may not be read (memory without any rights, a kernel without the call) stays as it is and is not among them.
        """
        self._check_alive("process_vm_readv")
        if not kernel_hides():
            return np.zeros(len(addresses), np.bool_)
        revealed = present_at(self._pagemap, addresses)
        if revealed.any():
            with staying_put():
                revealed[revealed] = read_each(self.ref.pid, addresses[revealed])
        return revealed

    def migrate(self, source: NodeId, target: NodeId) -> int:
        """migrate_pages(2) of what this process alone maps, within its cpuset."""
        self._check_alive("migrate_pages")
        with without_nice():
            return migrate_pages(self.ref.pid, {source}, {target})

    def policies(self, *, whole: bool) -> Sequence[RegionPolicy]:
        """The policies of its regions, or of the first few; none on a kernel without NUMA."""
        try:
            mappings = numa_maps.read_numa_maps(self.ref.pid) if whole else self._first_mappings()
        except Unsupported:
            return ()
        return [
            RegionPolicy(m.start, _POLICIES[m.policy.mode], m.policy.nodes, sum(m.bytes_by_node.values()))
            for m in mappings
        ]

    def _first_mappings(self) -> list[NumaMapping]:
        """The first whole lines of numa_maps: the kernel walks only the mappings that the read needs."""
        path = f"/proc/{self.ref.pid}/numa_maps"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # The reader of the whole file tells a missing process from a missing feature.
            read_process_text(HOST, self.ref.pid, "numa_maps")
            return []
        try:
            text = os.read(descriptor, _HEAD_BYTES).decode("utf-8", "surrogateescape")
        except OSError as error:
            raise ProcessGone("reading numa_maps", error.errno or 3, self.ref.pid) from error
        finally:
            os.close(descriptor)
        try:
            return list(numa_maps.parse(text[: text.rfind("\n") + 1], path))
        except KernelFormatError:
            return []

    def close(self) -> None:
        """Let go of it."""
        os.close(self._pagemap)
        os.close(self._pidfd)
