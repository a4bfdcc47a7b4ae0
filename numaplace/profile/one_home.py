"""Methods that see which pages are used, but not by whom: good for a process whose CPUs are all on one node.

`damon` asks the kernel's DAMON for the parts of the address space that are accessed, read or written. `written` clears
soft-dirty bits and looks which are set again. `idle` marks pages idle (CONFIG_IDLE_PAGE_TRACKING) and looks which are
so no longer. Each page that was seen goes to the process's home; how often it was seen is its weight.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from numaplace.kernel import page_idle
from numaplace.kernel.damon import ADMIN, Damon, Sampling, parse_regions
from numaplace.kernel.errors import KernelCallError, NoSuchFile
from numaplace.kernel.files import HOST, read_int
from numaplace.kernel.soft_dirty import clear_soft_dirty, has_soft_dirty
from numaplace.kernel.tracefs import DAMON_AGGREGATED
from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import NodeId
from numaplace.profile.method import Progress, Usage, Votes
from numaplace.profile.resident import present_pages, written_pages
from numaplace.profile.target import Target
from numaplace.profile.tracing import Watch, drain, ending_early, instance, missing_event, wait

ROUND_S: Final = 1.0
_ROOT = "needs root"


class OneHome:
    """What these methods have in common: they can only speak for a process with one home."""

    @staticmethod
    def unfit(target: Target) -> str | None:
        """Why it cannot tell the node of this process's pages."""
        if len(target.home) == 1:
            return None
        where = format_id_list(target.home) or "none"
        return f"it does not see who uses a page, and the process may run on several nodes ({where}): use write-faults"


def _home(target: Target) -> NodeId:
    (home,) = target.home
    return home


class Regions:
    """Accesses of regions, summed up: they change from one aggregation to the next, so they are cut at all bounds."""

    def __init__(self) -> None:
        self.aggregated = self.lost = self.unreadable = 0
        self._weights: dict[tuple[int, int], int] = {}

    def take(self, lines: list[bytes]) -> None:
        """Count the regions of these lines of the trace."""
        reading = parse_regions(lines)
        for region in reading.regions:
            if region.accesses:
                key = (region.start, region.end)
                self._weights[key] = self._weights.get(key, 0) + region.accesses
        self.aggregated += len(reading.regions)
        self.lost += reading.lost
        self.unreadable += reading.unreadable

    def summed(self) -> Iterator[tuple[int, int, int]]:
        """Ranges that do not overlap, ascending, each with its weight; only those with any."""
        steps: dict[int, int] = {}
        for (start, end), weight in self._weights.items():
            steps[start] = steps.get(start, 0) + weight
            steps[end] = steps.get(end, 0) - weight
        bounds, weight = sorted(steps), 0
        for start, end in pairwise(bounds):
            weight += steps[start]
            if weight:
                yield start, end, weight


def spread(summed: Iterable[tuple[int, int, int]], pages: Iterable[tuple[int, int]], home: NodeId) -> Votes:
    """The weight of each page that is there; both ascend."""
    votes: Votes = {}
    ranges = iter(summed)
    current = next(ranges, None)
    for address, _ in pages:
        while current is not None and current[1] <= address:
            current = next(ranges, None)
        if current is None:
            break
        if current[0] <= address:
            votes[address, home] = float(current[2])
    return votes


class DamonMethod(OneHome):
    """Votes by DAMON."""

    name = "damon"
    tells = "which regions are read or written, not by whom"

    @staticmethod
    def missing() -> str | None:
        """What this host lacks for it."""
        try:
            if read_int(HOST / ADMIN / "nr_kdamonds") != 0:
                return f"somebody else on this host uses DAMON (/{ADMIN}/nr_kdamonds is not 0)"
        except NoSuchFile:
            return "this kernel has no DAMON with sysfs (CONFIG_DAMON_SYSFS)"
        except KernelCallError:
            return _ROOT
        return missing_event(DAMON_AGGREGATED)

    @staticmethod
    def run(target: Target, seconds: float, progress: Progress) -> Usage:
        """Watch the process; see Method."""
        regions, usage = Regions(), Usage({})
        with (
            ending_early(usage, target.pid),
            instance(len(target.topology.memory_of_cpu)) as trace,
            Damon(target.pid, Sampling()),
        ):
            trace.enable(DAMON_AGGREGATED)
            for watch in Watch(seconds).turns():
                if drain(trace, regions.take):
                    wait(trace)
                progress(watch.part, f"{regions.aggregated} regions")
        summed = list(regions.summed())
        with ending_early(usage, target.pid):
            pages = present_pages(target.pid, [(start, end) for start, end, _ in summed])
            usage.votes.update(spread(summed, pages, _home(target)))
        usage.remarks.append(f"{regions.aggregated} regions seen, {regions.lost} lost")
        return usage


class WrittenMethod(OneHome):
    """Votes by soft-dirty bits."""

    name = "written"
    tells = "which pages are written, not by whom"

    @staticmethod
    def missing() -> str | None:
        """What this host lacks for it."""
        return None if has_soft_dirty() else "this kernel keeps no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY)"

    @staticmethod
    def run(target: Target, seconds: float, progress: Progress) -> Usage:
        """Watch the process; see Method."""
        home, usage, rounds = _home(target), Usage({}), 0
        with ending_early(usage, target.pid):
            for watch in Watch(seconds).turns():
                clear_soft_dirty(target.pid)
                watch.sleep(ROUND_S)
                _count(((page, home) for page in written_pages(target.pid)), usage.votes)
                rounds += 1
                progress(watch.part, f"{len(usage.votes)} pages written")
        usage.remarks.append(f"{rounds} rounds")
        return usage


class IdleMethod(OneHome):
    """Votes by idle page tracking."""

    name = "idle"
    tells = "which pages are read or written, not by whom"

    @staticmethod
    def missing() -> str | None:
        """What this host lacks for it."""
        try:
            os.close(page_idle.open_bitmap())
        except NoSuchFile:
            return "this kernel has no idle page tracking (CONFIG_IDLE_PAGE_TRACKING)"
        except KernelCallError:
            return _ROOT
        return None

    @staticmethod
    def run(target: Target, seconds: float, progress: Progress) -> Usage:
        """Watch the process; see Method."""
        home, usage, rounds = _home(target), Usage({}), 0
        bitmap = page_idle.open_bitmap()
        try:
            with ending_early(usage, target.pid):
                for watch in Watch(seconds).turns():
                    pages: Mapping[int, int] = dict(present_pages(target.pid))
                    page_idle.mark(bitmap, pages.values())
                    watch.sleep(ROUND_S)
                    idle = page_idle.still_idle(bitmap, pages.values())
                    _count(((page, home) for page, frame in pages.items() if frame not in idle), usage.votes)
                    rounds += 1
                    progress(watch.part, f"{len(usage.votes)} pages used")
        finally:
            os.close(bitmap)
        usage.remarks.append(f"{rounds} rounds")
        return usage


def _count(seen: Iterable[tuple[int, NodeId]], votes: Votes) -> None:
    for vote in seen:
        votes[vote] = votes.get(vote, 0.0) + 1.0
