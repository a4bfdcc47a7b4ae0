"""The process to be watched, and where it may run: what makes a node of a CPU, or of all of a process's CPUs."""

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from numaplace.kernel.errors import ProcessGone
from numaplace.kernel.files import HOST
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.kernel.procfs import ProcessId, list_tids, read_stat
from numaplace.kernel.topology import read_topology
from numaplace.model.ids import CpuId, Cpus, Nodes
from numaplace.model.topology import Topology
from numaplace.pagelog import Place


@dataclass(frozen=True, slots=True)
class Target:
    """A process, the host it runs on, and the home of all its threads together."""

    process: ProcessId
    command: str
    threads: frozenset[int]
    topology: Topology
    home: Nodes

    @property
    def pid(self) -> int:
        """Its pid."""
        return self.process.pid

    @property
    def place(self) -> Place:
        """What a page log of this process is read with."""
        return Place(PAGE_BYTES, self.topology.with_memory, self.topology.memory_of_cpu, self.pid, self.threads)


def read_target(pid: int, root: Path = HOST) -> Target:
    """Read a process, its threads, and the CPUs that they may run on.

    Raises:
        ProcessGone: there is no such process, or it has no memory (a zombie, a kernel thread).
        KernelFormatError: kernel text of another form.
    """
    stat = read_stat(pid, root)
    tids = list_tids(pid, root)
    if stat.is_kernel_thread or stat.is_dead:
        raise ProcessGone("profiling", errno.ESRCH, pid)
    topology = read_topology(root)
    return Target(stat.identity, stat.comm, frozenset(tids), topology, topology.home_of(_cpus_of(tids)))


def _cpus_of(tids: list[int]) -> Cpus:
    """The CPUs that any of the threads may run on."""
    cpus: set[CpuId] = set()
    for tid in tids:
        with contextlib.suppress(ProcessLookupError):  # threads come and go
            cpus.update(CpuId(cpu) for cpu in os.sched_getaffinity(tid))
    return frozenset(cpus)
