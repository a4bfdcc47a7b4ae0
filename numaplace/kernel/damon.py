"""DAMON: the kernel samples which parts of a process's address space are accessed, region by region.

Set up through /sys/kernel/mm/damon/admin (Documentation/admin-guide/mm/damon/usage.rst), read from the tracepoint
`damon:damon_aggregated`, one line for each region and each aggregation. The host has one set of kdamonds for all, so
it is taken only if nobody else has it, and given back whole. Nobody clears away behind a maker that was killed.
"""

import contextlib
import errno
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from numaplace.kernel.errors import KernelCallError
from numaplace.kernel.files import HOST, read_int, write_text
from numaplace.kernel.trace_events import COMM_BYTES, parse_lost

ADMIN: Final = "sys/kernel/mm/damon/admin/kdamonds"
_AGGREGATED = re.compile(
    rb"-[0-9]{1,10} +(?:\([ 0-9-]+\) +)?\[[0-9]{3,5}\] [^ ]{4,8} +[0-9]{1,12}\.[0-9]{6,9}: damon_aggregated:"
    rb" target_id=[0-9]{1,20} nr_regions=[0-9]{1,10} ([0-9]{1,20})-([0-9]{1,20}): ([0-9]{1,10})(?: .*)?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Region:
    """Addresses `[start, end)`, and in how many samples of one aggregation they were seen accessed."""

    start: int
    end: int
    accesses: int


@dataclass(frozen=True, slots=True)
class RegionReading:
    """Regions, and how many more lines there were: overwritten, or in an unknown form."""

    regions: tuple[Region, ...]
    lost: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How DAMON looks: the time between two samples and that of one aggregation, and how many regions it may make."""

    sample_us: int = 5_000
    aggregation_us: int = 100_000
    regions_min: int = 100
    regions_max: int = 1_000


def parse_regions(lines: Iterable[bytes]) -> RegionReading:
    """Parse lines of a trace_pipe in which only `damon_aggregated` is."""
    regions: list[Region] = []
    lost = unreadable = 0
    for line in lines:
        match = _AGGREGATED.fullmatch(line, COMM_BYTES)
        if match is not None and int(match[1]) < int(match[2]):
            regions.append(Region(int(match[1]), int(match[2]), int(match[3])))
            continue
        overwritten = parse_lost(line)
        if overwritten is None:
            unreadable += 1
        else:
            lost += overwritten
    return RegionReading(tuple(regions), lost, unreadable)


class Damon:
    """DAMON at work on one process, for the length of a block."""

    def __init__(self, pid: int, sampling: Sampling, root: Path = HOST) -> None:
        """Start it.

        Raises:
            NoSuchFile: this kernel was built without.
            Denied: no root.
            KernelCallError: EBUSY, somebody else uses it; ESRCH or EINVAL, there is no such process.
        """
        self._admin = root / ADMIN
        number = self._admin / "nr_kdamonds"
        if read_int(number) != 0:
            raise KernelCallError("starting DAMON", errno.EBUSY, pid)
        write_text(number, "1\n")
        try:
            self._start(pid, sampling)
        except BaseException:
            self.close()
            raise

    def _start(self, pid: int, sampling: Sampling) -> None:
        kdamond = self._admin / "0"
        write_text(kdamond / "contexts/nr_contexts", "1\n")
        context = kdamond / "contexts/0"
        intervals, regions = context / "monitoring_attrs/intervals", context / "monitoring_attrs/nr_regions"
        write_text(context / "operations", "vaddr\n")
        write_text(intervals / "sample_us", f"{sampling.sample_us}\n")
        write_text(intervals / "aggr_us", f"{sampling.aggregation_us}\n")
        write_text(regions / "max", f"{sampling.regions_max}\n")
        write_text(regions / "min", f"{sampling.regions_min}\n")
        write_text(context / "targets/nr_targets", "1\n")
        write_text(context / "targets/0/pid_target", f"{pid}\n")
        write_text(kdamond / "state", "on\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop it, and leave DAMON as it was found: off and without anything set up.

        Raises:
            KernelCallError: it cannot be stopped.
        """
        # It has stopped already if its process is gone; then the kernel refuses to stop it once more.
        with contextlib.suppress(KernelCallError):
            write_text(self._admin / "0/state", "off\n")
        write_text(self._admin / "nr_kdamonds", "0\n")
