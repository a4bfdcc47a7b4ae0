"""This host's memory: opened once, it fulfils `HostMemory` on `numaplace.kernel`.

Watermarks change with sysctl and hotplug only, so they are read again every few seconds; what is free is read before
every batch, from files of some hundred bytes.
"""

import os
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

import numpy as np

from node_agent.core.facts import ProcessRef, Room, TaskFacts
from node_agent.core.pages import Frames, Mask, Sizes
from node_agent.linux.cpuset import LinuxCpuset, find_cpuset
from node_agent.linux.frames import FrameFile, NodeTable, map_counts_of, tails_of
from node_agent.linux.memory import Felt
from node_agent.linux.pages import FrameReader, QueryReader, own_zero_frame
from node_agent.linux.process_memory import LinuxProcessMemory
from numaplace.kernel import procfs, vmstat
from numaplace.kernel.cgroups import at_path, read_hierarchies
from numaplace.kernel.cpusets import read_memory_migrate
from numaplace.kernel.errors import KernelCallError, Unsupported
from numaplace.kernel.frames import read_frame_ranges
from numaplace.kernel.free import read_free_blocks, read_free_pages, whole_blocks
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.kernel.psi import read_pressure_file
from numaplace.kernel.sysfs import read_huge_pools, read_thp
from numaplace.kernel.zones import read_zones
from numaplace.model.ids import Cpus, NodeId
from numaplace.model.move import MigrationCounters

_WATERMARKS_S = 5.0
_THREADS_FELT_MAX = 4
"""So many threads of a task are asked for their run delay: more would cost more than it tells."""


class LinuxHostMemory:
    """The running host. Thread-safe."""

    concurrent = True

    def __init__(self) -> None:
        """Find out what is visible here; what is not only makes it slower or less exact."""
        self.base_bytes = PAGE_BYTES
        self.thp_bytes = _thp_bytes()
        self._hierarchies = read_hierarchies()
        self._counts_file = self._flags_file = None
        self._reader: FrameReader | QueryReader = QueryReader(self.thp_bytes)
        zero_frame = own_zero_frame()
        if zero_frame:
            with suppress(KernelCallError):
                self._flags_file, self._counts_file = FrameFile("kpageflags"), FrameFile("kpagecount")
                table = NodeTable(read_frame_ranges())
                self._reader = FrameReader(table, self._flags_file, self.thp_bytes, zero_frame)
        self._high: dict[NodeId, int] = {}
        self._high_s = -_WATERMARKS_S

    @property
    def sees_frames(self) -> bool:
        """Whether frame numbers, kpageflags and kpagecount can be read."""
        return isinstance(self._reader, FrameReader)

    def open(self, process: ProcessRef, owner: int | None = None) -> LinuxProcessMemory:
        """Open a process's memory."""
        return LinuxProcessMemory(process, self._reader, owner)

    def map_counts(self, frames: Frames) -> Sizes:
        """How often each frame is mapped on the whole host; zeros where that is not visible."""
        if self._counts_file is None:
            return np.zeros(len(frames), np.int64)
        return map_counts_of(frames, self._counts_file)

    def tails(self, frames: Frames) -> Mask:
        """Which frames are inside a larger page, not its first; none where that is not visible."""
        if self._flags_file is None:
            return np.zeros(len(frames), np.bool_)
        return tails_of(frames, self._flags_file)

    def rooms(self, nodes: Collection[NodeId]) -> Mapping[NodeId, Room]:
        """What each node can take now."""
        high = self._watermarks()
        blocks = read_free_blocks()
        order = (self.thp_bytes // PAGE_BYTES).bit_length() - 1 if self.thp_bytes else None
        return {
            node: Room(
                node,
                max(0, read_free_pages(node) - high.get(node, 0)) * PAGE_BYTES,
                None if order is None else whole_blocks(blocks.get(node, ()), order),
            )
            for node in nodes
        }

    def _watermarks(self) -> Mapping[NodeId, int]:
        now = self.now_s()
        if now - self._high_s >= _WATERMARKS_S:
            high: dict[NodeId, int] = {}
            for zone in read_zones():
                high[zone.node] = high.get(zone.node, 0) + zone.high
            self._high, self._high_s = high, now
        return self._high

    def free_hugetlb_bytes(self, node: NodeId) -> int:
        """What the node's hugetlb pools have free; the surplus that the kernel may add is not counted."""
        return sum(pool.free * pool.page_bytes for pool in read_huge_pools(node))

    def counters(self) -> MigrationCounters:
        """The host's migration counters since boot."""
        now = vmstat.read_migration_counters()
        return MigrationCounters(
            now.pgmigrate_success,
            now.pgmigrate_fail,
            now.thp_migration_success,
            now.thp_migration_fail,
            now.thp_migration_split,
        )

    def felt(self, task: TaskFacts) -> Felt:
        """The memory pressure of the task's cgroup, and the run delay of its threads (some, if it has many)."""
        return Felt(self.now_s(), self._pressure_us(task), self._delay_ns(task))

    def _pressure_us(self, task: TaskFacts) -> int | None:
        v2 = self._hierarchies.v2
        cgroup = at_path(v2, task.cgroup) if v2 is not None and task.cgroup else None
        if cgroup is None:
            return None
        try:
            stall = read_pressure_file(cgroup.directory / "memory.pressure").some
        except KernelCallError:
            return None
        return None if stall is None else stall.total_us

    @staticmethod
    def _delay_ns(task: TaskFacts) -> float | None:
        delay, asked = 0, 0
        for process in task.processes:
            with suppress(KernelCallError):
                for tid in procfs.list_tids(process.pid)[: _THREADS_FELT_MAX - asked]:
                    delay += procfs.read_schedstat(process.pid, tid=tid).delay_ns
                    asked += 1
            if asked >= _THREADS_FELT_MAX:
                break
        return delay / asked if asked else None

    def cpuset_of(self, task: TaskFacts) -> LinuxCpuset | None:
        """The task's own cpuset, if its files can be written."""
        return find_cpuset(self._hierarchies, task)

    def kernel_moves_on_mems_write(self, task: TaskFacts) -> bool:
        """Whether a write to the task's cpuset.mems makes the kernel move its pages."""
        cpuset = find_cpuset(self._hierarchies, task)
        if cpuset is None:
            return False
        try:
            return read_memory_migrate(cpuset.cgroup)
        except KernelCallError:
            return False

    def run_on(self, cpus: Cpus) -> None:
        """Let the calling thread run on these CPUs if that is allowed; empty for wherever this process may run."""
        with suppress(OSError):
            # The main thread stays where it was put, so its CPUs are those of the process, as they are by now.
            os.sched_setaffinity(0, cpus or os.sched_getaffinity(os.getpid()))

    def own_delay_s(self) -> float:
        """How long the calling thread has waited for a CPU so far; 0 on a kernel that does not count it."""
        try:
            return procfs.read_schedstat(os.getpid(), tid=threading.get_native_id()).delay_ns / 1e9
        except KernelCallError:
            return 0.0

    def now_s(self) -> float:
        """CLOCK_MONOTONIC."""
        return time.monotonic()

    def sleep_s(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


def _thp_bytes() -> int:
    try:
        return read_thp().page_bytes
    except Unsupported:
        return 0
