"""This host's cpusets for the commands that change them: found by what a person calls them, read and written."""

import errno
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from numaplace.cli import exits
from numaplace.kernel import cgroups, cpusets
from numaplace.kernel.cgroups import Cgroup, CgroupMount
from numaplace.kernel.errors import translate
from numaplace.kernel.files import HOST
from numaplace.kernel.procfs import ProcessId, is_alive
from numaplace.kernel.sysfs import read_node_sets, read_online_cpus
from numaplace.model.cpuset import format_id_list
from numaplace.model.handover import Attach, Cpuset, Write, WriteCpus, WriteMems
from numaplace.model.ids import Cpus, Nodes


class CpusetFiles:
    """The cpusets of a host, each by its path in their hierarchy.

    All methods raise KernelCallError and KernelFormatError. ``longest_ms`` is the longest write so far: the kernel
    moves pages while the writer waits.
    """

    def __init__(self, mount: CgroupMount, process: ProcessId | None = None, root: Path = HOST) -> None:
        """Of one hierarchy; ``process`` is who may be attached, and no other that has got its pid since."""
        self._mount = mount
        self._process = process
        self._root = root
        self.longest_ms = 0.0

    @classmethod
    def of_host(cls, process: ProcessId | None = None, root: Path = HOST) -> Self:
        """The hierarchy that has the cpusets; raises exits.Failure if there is none."""
        mount = cgroups.read_hierarchies(root).of_controller("cpuset")
        if mount is None:
            raise exits.Failure(exits.FAILED, "no cgroup hierarchy with cpusets is mounted on this host")
        return cls(mount, process, root)

    def find(self, name: str) -> Cpuset:
        """A cgroup by its path or directory; one without a cpuset has its ancestor's. Raises exits.Failure."""
        cgroup = cgroups.named(self._mount, name)
        if cgroup is None or not cgroup.directory.is_dir():
            raise exits.Failure(exits.NOT_FOUND, f"there is no cgroup {name} below {self._mount.directory}")
        return self._cpuset(cgroup)

    def find_own(self, name: str) -> Cpuset:
        """The same for one that is to be changed: it must have a cpuset, and not be the top. Raises exits.Failure."""
        found = self.find(name)
        cgroup = self._cgroup(found.path)
        above = cgroups.parent(cgroup)
        if above is None:
            raise exits.Failure(exits.USAGE, "the top of the hierarchy has all CPUs and nodes, for good")
        if not _has_own(cgroup):
            words = f"{found.path} has no cpuset of its own; write +cpuset to {above.directory}/cgroup.subtree_control"
            raise exits.Failure(exits.FAILED, words)
        return found

    def of_process(self, pid: int) -> Cpuset:
        """Where a process is now; raises exits.Failure if that lies outside what this host shows."""
        cgroup = cgroups.cgroup_of(self._mount, pid, self._root)
        if cgroup is None:
            raise exits.Failure(exits.FAILED, f"the cgroup of process {pid} lies outside {self._mount.directory}")
        return self._cpuset(cgroup)

    def read(self, path: str) -> Cpuset:
        """What the files of one say now."""
        return self._cpuset(self._cgroup(path))

    def below(self, cpuset: Cpuset) -> Iterator[Cpuset]:
        """All cpusets below one."""
        top = self._cgroup(cpuset.path)
        return (self._cpuset(each) for each in cgroups.descendants(top) if each != top and _has_own(each))

    def mems(self, path: str) -> Nodes:
        """What was written as the nodes of one."""
        return cpusets.read_mems(self._cgroup(path))

    def cpus(self, path: str) -> Cpus:
        """What was written as the CPUs of one."""
        return cpusets.read_cpus(self._cgroup(path))

    def write(self, write: Write) -> None:
        """Write, and see how long it takes."""
        cgroup = self._cgroup(write.path)
        began = time.monotonic()
        match write:
            case WriteMems():
                cpusets.write_mems(cgroup, write.mems)
            case WriteCpus():
                cpusets.write_cpus(cgroup, write.cpus)
            case Attach():
                if self._process is None or self._process.pid != write.pid or not is_alive(self._process, self._root):
                    raise translate(f"attaching to {write.path}", errno.ESRCH, write.pid)
                cgroups.attach_process(cgroup, write.pid)
        self.longest_ms = max(self.longest_ms, 1000 * (time.monotonic() - began))

    def as_shell(self, write: Write) -> str:
        """The same write as a line for a shell."""
        cgroup = self._cgroup(write.path)
        match write:
            case WriteMems():
                words, file = format_id_list(write.mems), cpusets.mems_path(cgroup)
            case WriteCpus():
                words, file = format_id_list(write.cpus), cpusets.cpus_path(cgroup)
            case Attach():
                words, file = str(write.pid), cgroup.directory / "cgroup.procs"
        return f"echo {words} > {shlex.quote(str(file))}"

    def _cgroup(self, path: str) -> Cgroup:
        cgroup = cgroups.at_path(self._mount, path)
        if cgroup is None:
            raise translate(f"finding {path}", errno.ENOENT)
        return cgroup

    def _cpuset(self, cgroup: Cgroup) -> Cpuset:
        own = _has_own(cgroup)
        governing = self._governing(cgroup)
        above = self._governing(cgroups.parent(cgroup)) if own else governing
        return Cpuset(
            path=cgroup.path,
            cpus=cpusets.read_cpus(cgroup) if own else frozenset(),
            mems=cpusets.read_mems(cgroup) if own else frozenset(),
            effective_cpus=cpusets.read_effective_cpus(governing) if governing else read_online_cpus(self._root),
            effective_mems=self._mems_of(governing),
            of_parent=self._mems_of(above),
            kernel_moves=not own or cpusets.read_memory_migrate(cgroup),
        )

    def _mems_of(self, governing: Cgroup | None) -> Nodes:
        return cpusets.read_effective_mems(governing) if governing else read_node_sets(self._root).with_memory

    def _governing(self, cgroup: Cgroup | None) -> Cgroup | None:
        """The nearest one at or above that has a cpuset; None if only the host itself sets bounds."""
        while cgroup is not None and not cpusets.has_cpuset(cgroup):
            cgroup = cgroups.parent(cgroup)
        return cgroup


def _has_own(cgroup: Cgroup) -> bool:
    """Whether it has files to be written: the top of v2 only tells what holds there."""
    return cpusets.mems_path(cgroup).exists()
