"""The cpuset files of a cgroup: which CPUs and nodes its tasks may use, under the names of v1 and v2.

What a write does (kernel/cgroup/cpuset.c of 6.1, 6.12 and 7.2, and seen there): writing CPUs never moves memory.
Writing nodes on v2 always migrates, at once, once per thread, while the writer blocks; on v1 only if
`memory_migrate` is 1. So writers here refuse to run on an event loop's thread.

A v2 cgroup has these files only if its parent enables the controller; its tasks then obey the nearest ancestor's.
"""

import errno
from pathlib import Path

from numaplace.kernel.cgroups import Cgroup
from numaplace.kernel.errors import KernelFormatError, Unsupported
from numaplace.kernel.files import read_cpus as cpus_of_file
from numaplace.kernel.files import read_int, write_text
from numaplace.kernel.files import read_nodes as nodes_of_file
from numaplace.kernel.syscalls import forbid_event_loop
from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import Cpus, Nodes

# By what is meant: the name on v1 and on v2.
_NAMES = {
    "cpus": ("cpuset.cpus", "cpuset.cpus"),
    "mems": ("cpuset.mems", "cpuset.mems"),
    "effective_cpus": ("cpuset.effective_cpus", "cpuset.cpus.effective"),
    "effective_mems": ("cpuset.effective_mems", "cpuset.mems.effective"),
}

WATCHED = frozenset({"cpuset.cpus", "cpuset.mems", "cgroup.procs", "cgroup.threads", "tasks", "cpus", "mems"})
"""File names whose writing changes where tasks may run or allocate, on either version."""


def _path(cgroup: Cgroup, meaning: str) -> Path:
    name = _NAMES[meaning][cgroup.version - 1]
    return cgroup.directory / (name.removeprefix("cpuset.") if cgroup.no_prefix else name)


def cpus_path(cgroup: Cgroup) -> Path:
    """Return the file with the CPUs asked for."""
    return _path(cgroup, "cpus")


def mems_path(cgroup: Cgroup) -> Path:
    """Return the file with the nodes asked for."""
    return _path(cgroup, "mems")


def has_cpuset(cgroup: Cgroup) -> bool:
    """Whether the cgroup has cpuset files of its own."""
    return _path(cgroup, "effective_cpus").exists()


def read_cpus(cgroup: Cgroup) -> Cpus:
    """Read the CPUs asked for, which on v2 may be none: then the parent's are used.

    Raises:
        NoSuchFile: not enabled there, removed, or the root of v2.
        KernelFormatError: no list.
    """
    return cpus_of_file(_path(cgroup, "cpus"))


def read_mems(cgroup: Cgroup) -> Nodes:
    """Read the nodes asked for, which on v2 may be none: then the parent's are used; raises as `read_cpus`."""
    return nodes_of_file(_path(cgroup, "mems"))


def read_effective_cpus(cgroup: Cgroup) -> Cpus:
    """Read the CPUs that tasks of the cgroup may use now, after ancestors and hotplug; raises as `read_cpus`."""
    return cpus_of_file(_path(cgroup, "effective_cpus"))


def read_effective_mems(cgroup: Cgroup) -> Nodes:
    """Read the nodes that tasks of the cgroup may use now; raises as `read_cpus`."""
    return nodes_of_file(_path(cgroup, "effective_mems"))


def write_cpus(cgroup: Cgroup, cpus: Cpus) -> None:
    """Write the CPUs; an empty set gives the wish up (v2).

    Raises:
        NoSuchFile: not enabled there, or removed.
        KernelCallError: EINVAL, ENOSPC (v1, tasks would be without), EBUSY (exclusive, deadline tasks), `Denied`.
        EventLoopBlocked: on an event loop's thread.
    """
    forbid_event_loop("writing cpuset.cpus")
    write_text(_path(cgroup, "cpus"), f"{format_id_list(cpus)}\n")


def write_mems(cgroup: Cgroup, mems: Nodes) -> None:
    """Write the nodes, and block while the kernel migrates; raises as `write_cpus`."""
    forbid_event_loop("writing cpuset.mems")
    write_text(_path(cgroup, "mems"), f"{format_id_list(mems)}\n")


def _migrate_path(cgroup: Cgroup) -> Path:
    return cgroup.directory / ("memory_migrate" if cgroup.no_prefix else "cpuset.memory_migrate")


def read_memory_migrate(cgroup: Cgroup) -> bool:
    """Read whether the kernel moves pages when nodes change or a task is attached: always on v2, by a file on v1.

    Raises:
        NoSuchFile: removed.
        KernelFormatError: neither 0 nor 1.
    """
    if cgroup.version == 2:  # noqa: PLR2004 - cgroup v2
        return True
    path = _migrate_path(cgroup)
    value = read_int(path)
    if value not in {0, 1}:
        raise KernelFormatError(str(path), str(value))
    return value == 1


def write_memory_migrate(cgroup: Cgroup, *, migrate: bool) -> None:
    """Say whether the kernel moves pages on v1; raises Unsupported on v2, where it always does."""
    if cgroup.version == 2:  # noqa: PLR2004 - cgroup v2
        raise Unsupported("writing cpuset.memory_migrate", errno.EOPNOTSUPP)
    write_text(_migrate_path(cgroup), f"{int(migrate)}\n")
