"""A look at a target: all of its processes, put together into one picture."""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from numaplace.kernel import status, sysfs
from numaplace.kernel.errors import Denied, KernelCallError, KernelFormatError, ProcessGone, Unsupported
from numaplace.kernel.files import HOST
from numaplace.kernel.frames import read_frame_ranges
from numaplace.kernel.kpagecount import read_map_counts
from numaplace.kernel.topology import read_topology
from numaplace.look.errors import LookError, NotThere
from numaplace.look.one_process import Looked, Wanted, look_at, may_run_on
from numaplace.look.sharing import FRAMES_MAX, settled
from numaplace.look.target import Target
from numaplace.model.ids import Cpus, NodeId
from numaplace.model.picture import MappedPages, MappingKind, Picture, ThreadPlace, merged
from numaplace.model.topology import Topology

Affinity = Callable[[int], Collection[int]]


def look(
    target: Target, root: Path = HOST, *, threads: bool = False, get_affinity: Affinity = os.sched_getaffinity
) -> Picture:
    """Look at a target once.

    Args:
        target: from `process`, `tree` or `cgroup`.
        root: the host.
        threads: also tell of each thread where it may run.
        get_affinity: sched_getaffinity(2).

    Raises:
        NotThere: it has ended.
        LookError: it is not the caller's to see, or this kernel does not tell.
    """
    try:
        return _look(target, root, threads=threads, get_affinity=get_affinity)
    except KernelFormatError as error:
        raise LookError(f"this kernel speaks in another way than is known here: {error}") from error
    except Unsupported as error:
        raise LookError(f"this kernel does not tell where pages are ({error.strerror})") from error
    except KernelCallError as error:
        raise LookError(str(error.strerror)) from error


def _look(target: Target, root: Path, *, threads: bool, get_affinity: Affinity) -> Picture:
    seen, denied = _processes(target, _wanted(target, root), root)
    topology = read_topology(root)
    cpus: dict[int, Cpus] = may_run_on([tid for each in seen for tid in each.tids], get_affinity)
    union: Cpus = frozenset().union(*cpus.values())
    mappings = _settled(seen, root)
    return Picture(
        target.title,
        tuple(each.process for each in seen),
        union,
        frozenset().union(*(each.mems for each in seen)),
        topology.home_of(union),
        mappings,
        _threads(seen, cpus, topology, root) if threads else (),
        denied,
        _free_huge(mappings, topology, root),
    )


def _wanted(target: Target, root: Path) -> Wanted:
    try:
        thp_bytes = sysfs.read_thp(root).page_bytes
    except Unsupported:
        thp_bytes = 0
    several = len(target.pids) > 1
    return Wanted(by_address=target.alone, thp_bytes=thp_bytes, sharers_shown=several)


def _processes(target: Target, wanted: Wanted, root: Path) -> tuple[list[Looked], int]:
    """Those that are there and ours to see, and how many are not ours."""
    seen: list[Looked] = []
    denied, room = 0, FRAMES_MAX
    for pid in target.pids:
        try:
            looked = look_at(pid, replace(wanted, frames_max=room), root)
        except ProcessGone:
            continue
        except Denied:
            denied += 1
            continue
        room -= sum(len(part.frames) for part in looked.shared)
        seen.append(looked)
    if not seen and denied:
        whose = "it is" if target.alone else f"its {denied} processes are"
        raise LookError(f"{target.title} may not be looked at: {whose} another user's, or protected; try as root")
    if not seen:
        raise NotThere(f"{target.title} has ended")
    return seen, denied


def _settled(seen: Sequence[Looked], root: Path) -> tuple[MappedPages, ...]:
    """All mappings, merged; shared ones with what strangers map, as far as that is ours to know."""
    flat: list[MappedPages] = []
    shared = []
    for each in seen:
        shared += [replace(part, at=part.at + len(flat)) for part in each.shared]
        flat += each.mappings
    if shared:
        try:
            counts = read_map_counts((frame for part in shared for frame in part.frames), root)
            flat = settled(flat, shared, counts, read_frame_ranges(root))
        except KernelCallError:
            pass  # what is shared stays unknown
    own: list[MappedPages] = []
    at = 0
    for each in seen:
        own += (replace(one, processes=1) for one in merged(flat[at : at + len(each.mappings)]))
        at += len(each.mappings)
    return merged(own)


def _threads(seen: Iterable[Looked], cpus: dict[int, Cpus], topology: Topology, root: Path) -> tuple[ThreadPlace, ...]:
    places: list[ThreadPlace] = []
    for each in seen:
        for tid in each.tids:
            if tid not in cpus:
                continue
            try:
                name = status.read_command(each.process.pid, root, tid)
            except ProcessGone:
                continue
            places.append(ThreadPlace(each.process.pid, tid, name, cpus[tid], topology.home_of(cpus[tid])))
    return tuple(places)


def _free_huge(mappings: Iterable[MappedPages], topology: Topology, root: Path) -> dict[int, dict[NodeId, int]]:
    """What the hugetlb pools have free, by page size and node; nothing if no mapping is of them."""
    free: dict[int, dict[NodeId, int]] = {}
    if any(mapping.kind is MappingKind.HUGETLB for mapping in mappings):
        for node in topology.nodes:
            for pool in sysfs.read_huge_pools(node.id, root):
                free.setdefault(pool.page_bytes, {})[node.id] = pool.free * pool.page_bytes
    return free
