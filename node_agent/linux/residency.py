"""Where a task's pages lie: each process's pages by node, page size and kind, shared pages counted once.

Address space is read in spans of at most 64 MB: a part of one large region, or many small ones with what lies between
them, because a process has hundreds of those. Nothing here grows with the task but the small regions' shared pages.

A page that is mapped more than once is compared with those of the task's other processes. In large regions the same
place is read in all of them: shared memory and files by their offset, private memory by its address, which fork keeps.
The pages of small regions are gathered and compared at once. Then a frame counts once, and if the host maps it more
often than the task does, strangers share it. (A private page in a large region, mapped at different addresses by
several processes, which takes mremap after fork, counts once for each and is taken for shared with strangers.)
"""

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from node_agent.core.facts import Measured, ProcessRef
from node_agent.core.pages import (
    KINDS,
    NO_KIND,
    Addresses,
    Mask,
    PageFlag,
    Pages,
    Region,
    Sizes,
    count_cells,
    kinds_in,
    kinds_of,
)
from node_agent.linux.memory import HostMemory, ProcessMemory, RegionPolicy
from numaplace.kernel.errors import Denied, KernelCallError, ProcessGone
from numaplace.model.ids import Nodes
from numaplace.model.job import MemoryPolicy
from numaplace.model.residency import Cell, PageKind, Residency

SPAN_BYTES = 64 << 20
LARGE_BYTES = SPAN_BYTES
"""A region this large is read part by part, and never together with others."""
GAP_BYTES_MAX = 1 << 20
"""Small regions so close together are read in one go, with the nothing between them."""
PROCESSES_OPEN_MAX = 512
"""So many processes of one task are looked at together; sharers beyond count as strangers."""
GATHERED_MAX = 1 << 20
"""So many multiply mapped pages of small regions are compared at once; sharers beyond count as strangers."""
NUMA_MAPS_BYTES_MAX = 256 << 20
"""Of a larger process only the first lines of numa_maps are read: the kernel walks mappings under the mmap lock."""

_ANON, _SHARED = KINDS.index(PageKind.ANON), KINDS.index(PageKind.SHARED)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An open process and its regions."""

    memory: ProcessMemory
    regions: tuple[Region, ...]
    starts: Addresses


class Span(NamedTuple):
    """A stretch of a process's address space; ``place`` and ``region`` are set for a part of a large region."""

    view: View
    start: int
    end: int
    place: "Place | None" = None
    region: Region | None = None


class Place(NamedTuple):
    """What several processes map together: a stretch of a file or shared memory, or of private addresses."""

    name: str
    start: int
    end: int


@contextmanager
def open_task(
    host: HostMemory, processes: Sequence[ProcessRef], owner: int | None = None
) -> Iterator[tuple[tuple[View, ...], bool]]:
    """Open a task's processes; those that are gone are left out. Also whether any was denied to us.

    ``owner``: whose they must be, see `HostMemory.open`.
    """
    with ExitStack() as stack:
        views: list[View] = []
        denied = False
        for process in processes[:PROCESSES_OPEN_MAX]:
            try:
                memory = host.open(process, owner)
                stack.callback(memory.close)
                views.append(view_of(memory))
            except ProcessGone:
                continue
            except KernelCallError as error:
                if not isinstance(error, Denied) and error.errno not in {errno.EMFILE, errno.ENFILE}:
                    raise
                denied = True  # no right to it, or no descriptor for it: we do not see it
        yield tuple(views), denied


def view_of(memory: ProcessMemory) -> View:
    """A process with its regions as they are now; raises ProcessGone."""
    regions = tuple(memory.regions())
    return View(memory, regions, np.array([region.start for region in regions], np.uint64))


def look_again(views: Iterable[View]) -> tuple[View, ...]:
    """The processes with the regions that they have by now; those that are gone keep what they had."""
    seen: list[View] = []
    for view in views:
        try:
            seen.append(view_of(view.memory))
        except (ProcessGone, Denied):
            seen.append(view)
    return tuple(seen)


def spans(views: Iterable[View]) -> Iterator[Span]:
    """A task's address space, large regions first: that is where a move begins."""
    views = tuple(views)
    large = [(view, r) for view in views for r in view.regions if r.length_bytes >= LARGE_BYTES]
    for view, region in sorted(large, key=lambda pair: -pair[1].length_bytes):
        yield from _parts(view, region)
    for view in views:
        yield from _together(view)


def _parts(view: View, region: Region) -> Iterator[Span]:
    """Parts begin at the same offsets in every process, so that they can be laid side by side."""
    start = region.start
    while start < region.end:
        offset = region.offset + start - region.start
        end = min(region.end, start + SPAN_BYTES - offset % SPAN_BYTES)
        yield Span(view, start, end, Place(region.name, offset, offset + end - start), region)
        start = end


def _together(view: View) -> Iterator[Span]:
    """Small regions, neighbours in one span."""
    start = end = 0
    for region in view.regions:
        if region.length_bytes >= LARGE_BYTES:
            continue
        if start and region.start - end <= GAP_BYTES_MAX and region.end - start <= SPAN_BYTES:
            end = region.end
            continue
        if start:
            yield Span(view, start, end)
        start, end = region.start, region.end
    if start:
        yield Span(view, start, end)


def at_place(views: Iterable[View], place: Place) -> Iterator[Span]:
    """The parts of the task's large regions that map a place."""
    for view in views:
        for region in view.regions:
            if region.name != place.name or region.length_bytes < LARGE_BYTES:
                continue
            shift = region.start - region.offset
            start, end = max(region.start, place.start + shift), min(region.end, place.end + shift)
            if start < end:
                yield Span(view, start, end, place, region)


def read(span: Span) -> Pages:
    """The present pages of a span, with their kinds; none if its process is gone."""
    try:
        pages = span.view.memory.pages(span.start, span.end)
    except ProcessGone:
        return Pages.none()
    if not len(pages):
        return pages
    if span.region is not None:
        return replace(pages, kinds=kinds_in(pages, span.region))
    pages = replace(pages, kinds=kinds_of(pages, span.view.regions, span.view.starts))
    ours = pages.kinds != NO_KIND
    return pages if ours.all() else pages.where(ours)


@dataclass(frozen=True, slots=True, eq=False)
class SharedPart:
    """Multiply mapped pages of one process, each frame in one part only; ``foreign``: strangers map them too."""

    view: View
    pages: Pages
    foreign: Mask


class Sharers:
    """Collects multiply mapped pages while a task is read, and then compares them between its processes."""

    def __init__(self, host: HostMemory, views: Sequence[View]) -> None:
        self._host, self._views = host, views
        self._places: dict[Place, None] = {}
        self._gathered: list[tuple[View, Pages]] = []
        self._count = 0

    def add(self, span: Span, pages: Pages) -> Iterator[SharedPart]:
        """These pages of a span are mapped more than once; gives parts back when there are too many to keep."""
        if span.place is not None:
            self._places[span.place] = None
            return
        self._gathered.append((span.view, pages))
        self._count += len(pages)
        if self._count > GATHERED_MAX:
            yield from self._compare(self._gathered)
            self._gathered, self._count = [], 0

    def parts(self) -> Iterator[SharedPart]:
        """All that was added, compared; large regions are read once more for it, in all processes."""
        yield from self._compare(self._gathered)
        for place in self._places:
            found = [(span.view, _multiply_mapped(read(span))) for span in at_place(self._views, place)]
            yield from self._compare([part for part in found if len(part[1])])

    def _compare(self, parts: Sequence[tuple[View, Pages]]) -> Iterator[SharedPart]:
        if not parts:
            return
        frames = np.concatenate([pages.frames for _, pages in parts])
        unique, first, ours = np.unique(frames, return_index=True, return_counts=True)
        foreign = np.zeros(len(frames), np.bool_)
        foreign[first] = ours < self._map_counts(unique)
        is_first = np.zeros(len(frames), np.bool_)
        is_first[first] = True
        done = 0
        for view, pages in parts:
            mine = slice(done, done + len(pages))
            yield SharedPart(view, pages.where(is_first[mine]), foreign[mine][is_first[mine]])
            done += len(pages)

    def _map_counts(self, frames: Addresses) -> Sizes:
        return self._host.map_counts(frames)


def _multiply_mapped(pages: Pages) -> Pages:
    return pages.where(~pages.has(PageFlag.EXCLUSIVE))


def measure(host: HostMemory, processes: Sequence[ProcessRef]) -> Measured:
    """Where a task's pages lie, and the memory policy that most of them are under."""
    with open_task(host, processes) as (views, _):
        return measured_of(host, views)


def measured_of(host: HostMemory, views: Sequence[View]) -> Measured:
    """The same of processes that are open."""
    policy, nodes = dominant_policy(views)
    return Measured(residency_of(host, views), policy, nodes)


def residency_of(host: HostMemory, views: Sequence[View]) -> Residency:
    """Where the pages of these processes lie.

    One process alone cannot share with itself: what it maps and others map too is counted as it is met.
    """
    cells: dict[Cell, int] = {}
    sharers = Sharers(host, views)
    alone = len(views) == 1 or not host.sees_frames
    for span in spans(views):
        pages = read(span)
        exclusive = pages.has(PageFlag.EXCLUSIVE)
        if exclusive.all():
            _add(cells, count_cells(pages, host.base_bytes))
        elif alone:
            _add(cells, count_cells(_as_shared(pages, ~exclusive), host.base_bytes))
        else:
            _add(cells, count_cells(pages.where(exclusive), host.base_bytes))
            for part in sharers.add(span, pages.where(~exclusive)):
                _add(cells, count_cells(_as_shared(part.pages, part.foreign), host.base_bytes))
    for part in sharers.parts():
        _add(cells, count_cells(_as_shared(part.pages, part.foreign), host.base_bytes))
    return Residency(cells)


def _as_shared(pages: Pages, foreign: Mask) -> Pages:
    """Anonymous pages that strangers map too are shared memory, whatever they are to the process."""
    kinds = np.where(foreign & (pages.kinds == _ANON), np.uint8(_SHARED), pages.kinds)
    return replace(pages, kinds=kinds)


def _add(cells: dict[Cell, int], more: Mapping[Cell, int]) -> None:
    for cell, size in more.items():
        cells[cell] = cells.get(cell, 0) + size


def dominant_policy(views: Sequence[View]) -> tuple[MemoryPolicy, Nodes]:
    """The memory policy under which most bytes lie; a default policy counts like any other."""
    weights: dict[tuple[MemoryPolicy, Nodes], int] = {}
    for view in views:
        for region in region_policies(view):
            key = (region.policy, region.nodes)
            weights[key] = weights.get(key, 0) + region.resident_bytes
    return max(weights, key=lambda key: weights[key], default=(MemoryPolicy.DEFAULT, frozenset()))


def region_policies(view: View) -> Sequence[RegionPolicy]:
    """Policies by region if that is cheap for the process, else the task's own policy, which the first regions show."""
    try:
        return view.memory.policies(whole=view.memory.resident_bytes() <= NUMA_MAPS_BYTES_MAX)
    except (ProcessGone, Denied):
        return ()
