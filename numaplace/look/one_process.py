"""One process, looked at once: its mappings as numa_maps has them, who it is, and where it may run.

A pid is not a process. Its start is read before and after, so a look never mixes two processes; and as numa_maps ends
early without a word when its process does, one that has ended by then was not seen.
"""

import errno
import os
import time
from array import array
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from numaplace.kernel import procfs
from numaplace.kernel.errors import KernelCallError, ProcessGone, Unsupported
from numaplace.kernel.files import HOST
from numaplace.kernel.maps import Mapping, backing_of, read_maps
from numaplace.kernel.numa_maps import NumaMapping, read_numa_maps
from numaplace.kernel.pagemap import PAGE_BYTES, open_pagemap
from numaplace.kernel.status import read_command_line, read_status
from numaplace.look.huge import huge_bytes
from numaplace.look.sharing import FRAMES_MAX, Shared, alone_bytes, shared_frames
from numaplace.model.ids import CpuId, Cpus, Nodes
from numaplace.model.picture import MappedPages, MappingKind, ShownProcess
from numaplace.model.residency import Backing

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_KINDS = {
    Backing.PRIVATE: MappingKind.ANON,
    Backing.FILE: MappingKind.FILE,
    Backing.SHARED: MappingKind.SHARED,
    Backing.DEVICE: MappingKind.DEVICE,
    Backing.KERNEL: MappingKind.KERNEL,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to look. ``by_address``: anonymous mappings are named by theirs, which tells nothing of several processes.

    ``thp_bytes``: the size of a transparent huge page, 0 on a kernel without. ``frames_max``: how many shared pages may
    be looked at by frame. ``sharers_shown``: other processes are shown too, and may be the sharers.
    """

    by_address: bool
    thp_bytes: int
    frames_max: int = FRAMES_MAX
    sharers_shown: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """One process as it was seen; ``shared`` points into ``mappings``."""

    process: ShownProcess
    mems: Nodes
    tids: tuple[int, ...]
    mappings: tuple[MappedPages, ...]
    shared: tuple[Shared, ...]


def look_at(pid: int, wanted: Wanted, root: Path = HOST) -> Looked:
    """Look at one process.

    Raises:
        ProcessGone: there is no such process, it ended meanwhile, or has no memory.
        Denied: it is not the caller's to see.
        Unsupported: the kernel was built without NUMA.
        KernelFormatError: the kernel's words are not those that are known.
    """
    before = procfs.read_stat(pid, root)
    lines = read_numa_maps(pid, root)
    by_start = {mapping.start: mapping for mapping in read_maps(pid, root)}
    with _opened(pid, root) as descriptor:
        mappings, shared = _told(pid, descriptor, [(line, by_start.get(line.start)) for line in lines], wanted, root)
    facts = read_status(pid, root)
    tids = tuple(procfs.list_tids(pid, root))
    command = " ".join(read_command_line(pid, root)) or before.comm
    seen = ShownProcess(
        pid, before.start_ticks, command, facts.effective_uid, len(tids), _children(pid, root),
        max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - before.start_ticks / _TICKS_PER_S),
    )  # fmt: skip
    after = procfs.read_stat(pid, root)
    if after.identity != before.identity or after.is_dead:
        raise ProcessGone("looking", errno.ESRCH, pid)
    return Looked(seen, facts.mems_allowed, tids, mappings, shared)


def may_run_on(
    tids: Collection[int], get_affinity: Callable[[int], Collection[int]] = os.sched_getaffinity
) -> dict[int, Cpus]:
    """The CPUs that each of these threads may use; those that ended, or that a security module hides, left out."""
    cpus: dict[int, Cpus] = {}
    for tid in tids:
        try:
            cpus[tid] = frozenset(CpuId(cpu) for cpu in get_affinity(tid))
        except (ProcessLookupError, PermissionError):
            continue
    return cpus


@contextmanager
def _opened(pid: int, root: Path) -> Iterator[int]:
    descriptor = open_pagemap(pid, root)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _children(pid: int, root: Path) -> int | None:
    try:
        return len(procfs.read_children(pid, root))
    except Unsupported:
        return None


def _told(
    pid: int, descriptor: int, lines: list[tuple[NumaMapping, Mapping | None]], wanted: Wanted, root: Path
) -> tuple[tuple[MappedPages, ...], tuple[Shared, ...]]:
    """The mappings that have pages; what numa_maps does not say of them is read from the pagemap."""
    held = [(line, mapping) for line, mapping in lines if line.pages_by_node]
    roomy = [
        (mapping.start, mapping.end)
        for line, mapping in held
        if mapping is not None and not line.huge and 0 < wanted.thp_bytes <= sum(line.bytes_by_node.values())
    ]
    try:
        huge = huge_bytes(pid, descriptor, roomy, root)
    except KernelCallError as error:
        if isinstance(error, ProcessGone):
            raise
        huge = None
    mappings: list[MappedPages] = []
    shared: list[Shared] = []
    room = wanted.frames_max
    for line, mapping in held:
        told = pages_of(line, mapping, wanted, None if huge is None else huge.get(line.start, 0))
        if line.mapmax > 1 and not told.kind.fixed:
            told, frames = _sharing(told, mapping, descriptor, wanted, room)
            if frames is not None:
                room -= len(frames)
                shared.append(Shared(len(mappings), frames))
        mappings.append(told)
    return tuple(mappings), tuple(shared)


def pages_of(line: NumaMapping, mapping: Mapping | None, wanted: Wanted, thp_bytes: int | None = 0) -> MappedPages:
    """A line of numa_maps and, if it was still there, the same mapping's line of maps."""
    size = line.page_bytes
    pages = sum(line.pages_by_node.values())
    kind = _kind(line, mapping)
    return MappedPages(
        _name(line, mapping, kind, by_address=wanted.by_address),
        kind,
        str(line.policy),
        size,
        line.bytes_by_node,
        anon_bytes=line.anon * size,
        dirty_bytes=line.dirty * size,
        # The kernel tells it only where some are not active, and never of hugetlb pages, which have no such state.
        active_bytes=size * (0 if line.huge else pages if line.active is None else line.active),
        swapcache_bytes=line.swapcache * size,
        writeback_bytes=line.writeback * size,
        thp_bytes=thp_bytes,
        deleted=line.deleted,
    )


def _kind(line: NumaMapping, mapping: Mapping | None) -> MappingKind:
    if line.huge:
        return MappingKind.HUGETLB
    if line.heap:
        return MappingKind.HEAP
    if line.stack:
        return MappingKind.STACK
    if mapping is not None:
        return _KINDS[backing_of(mapping)]
    return MappingKind.ANON if line.file is None else MappingKind.FILE


def _name(line: NumaMapping, mapping: Mapping | None, kind: MappingKind, *, by_address: bool) -> str:
    name = (mapping.name if mapping is not None else line.file) or ""
    if name and kind is not MappingKind.HEAP:
        return name
    if kind in {MappingKind.HEAP, MappingKind.STACK}:
        return f"[{kind.value}]"
    return f"{line.start:x}" if by_address else "[anon]"


def _sharing(
    told: MappedPages, mapping: Mapping | None, descriptor: int, wanted: Wanted, room: int
) -> tuple[MappedPages, "array[int] | None"]:
    """What of a mapping that has a page mapped twice is shared; and its frames, if they can tell more."""
    if mapping is None:
        return replace(told, unknown_bytes=told.mapped_bytes), None  # it was gone when maps was read
    together = max(0, told.mapped_bytes - alone_bytes(descriptor, mapping.start, mapping.end))
    if not together:
        return told, None
    frames = None
    mixed = together < told.mapped_bytes and len(told.by_node) > 1
    if (mixed or wanted.sharers_shown) and together <= room * PAGE_BYTES:
        frames = shared_frames(descriptor, mapping.start, mapping.end)
    if wanted.sharers_shown:
        return replace(told, unknown_bytes=together), frames
    by_node = told.by_node if together == told.mapped_bytes else dict.fromkeys(told.by_node, together)
    return replace(told, shared_bytes=together, shared_by_node=None if mixed else by_node), frames
