"""Where the threads of followed processes may run now: the light part of a sweep.

One system call per thread and nothing else: which threads a process has is listed when their number changes, and the
nodes of a cgroup are read once for all who are in it. The union over a task's threads is what counts, because memory
follows every CPU that a task may use.
"""

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from node_agent.core.facts import ProcessRef
from numaplace.kernel.cgroups import Cgroup
from numaplace.kernel.cpusets import has_cpuset, read_effective_mems
from numaplace.kernel.errors import KernelCallError, ProcessGone
from numaplace.kernel.files import HOST
from numaplace.kernel.procfs import list_tids
from numaplace.kernel.status import read_status
from numaplace.model.ids import CpuId, Cpus, NodeId, Nodes

COUNTS_MAX = 256
"""Processes whose number of threads is looked at in one light sweep; the others have their turn."""
_LINKS_OF_EMPTY_DIRECTORY = 2


class Threads:
    """The threads of the followed processes. Not thread-safe; one owner."""

    def __init__(
        self, root: Path = HOST, get_affinity: Callable[[int], Collection[int]] = os.sched_getaffinity
    ) -> None:
        self._root = root
        self._get_affinity = get_affinity
        self._tids: dict[ProcessRef, tuple[int, ...]] = {}
        self._turns: dict[ProcessRef, None] = {}
        self._sets: dict[frozenset[int], Cpus] = {}

    def follow(self, processes: Iterable[ProcessRef]) -> None:
        """Know the threads of these processes, and forget all others."""
        wanted = dict.fromkeys(processes)
        self._tids = {ref: self._tids.get(ref) or self._list(ref) for ref in wanted}
        self._turns = {ref: None for ref in self._turns if ref in wanted} | wanted
        self._sets.clear()

    def refresh(self) -> None:
        """Look for new threads: the number of a process's threads is the number of its directory's links."""
        for ref in list(self._turns)[:COUNTS_MAX]:
            self._turns[ref] = self._turns.pop(ref)
            if self._count(ref) != len(self._tids[ref]):
                self._tids[ref] = self._list(ref)

    def count(self, ref: ProcessRef) -> int:
        """How many threads a process had when last looked at; 0 if it is gone."""
        return len(self._tids.get(ref, ()))

    def cpus(self, processes: Iterable[ProcessRef]) -> Cpus:
        """The CPUs that any thread of these processes may use; none if all are gone."""
        get_affinity = self._get_affinity
        union: Collection[int] = ()
        for ref in processes:
            for tid in self._tids.get(ref, ()):
                try:
                    mask = get_affinity(tid)
                except ProcessLookupError:
                    # Listed anew at the next sweep, as the number no longer fits.
                    self._tids[ref] = tuple(other for other in self._tids[ref] if other != tid)
                    continue
                except PermissionError:
                    # A security module hides it; what it may use is not ours to know.
                    continue
                if mask != union:
                    union = {*union, *mask}
        return self._shared(union)

    def _shared(self, cpus: Collection[int]) -> Cpus:
        """One object for equal sets: thousands of tasks have few different ones."""
        key = frozenset(cpus)
        return self._sets.setdefault(key, frozenset(CpuId(cpu) for cpu in key))

    def _list(self, ref: ProcessRef) -> tuple[int, ...]:
        try:
            return tuple(list_tids(ref.pid, self._root))
        except KernelCallError:
            return ()

    def _count(self, ref: ProcessRef) -> int:
        try:
            links = os.stat(f"{self._root}/proc/{ref.pid}/task").st_nlink  # noqa: PTH116 - thousands a second
        except OSError:
            return 0
        return links - _LINKS_OF_EMPTY_DIRECTORY


class Mems:
    """The nodes that cpusets allow, each read once per sweep."""

    def __init__(self, root: Path = HOST) -> None:
        self._root = root
        self._read: dict[Path, Nodes | None] = {}
        self._owners: dict[Path, Cgroup | None] = {}

    def forget(self, *, owners: bool) -> None:
        """Begin a sweep; with ``owners`` also forget which cgroup's file holds for which cgroup."""
        self._read.clear()
        if owners:
            self._owners.clear()

    def of(self, cgroup: Cgroup | None, pid: int) -> Nodes:
        """The nodes that a process in this cgroup may allocate on; none if it is gone."""
        owner = None if cgroup is None else self._owner(cgroup)
        nodes = None if owner is None else self._of_file(owner)
        return self._of_process(pid) if nodes is None else nodes

    def _owner(self, cgroup: Cgroup) -> Cgroup | None:
        """The nearest cgroup that has cpuset files, at or above this one."""
        if cgroup.directory not in self._owners:
            at: Cgroup | None = cgroup
            while at is not None and not has_cpuset(at):
                at = _parent(at)
            self._owners[cgroup.directory] = at
        return self._owners[cgroup.directory]

    def _of_file(self, owner: Cgroup) -> Nodes | None:
        if owner.directory not in self._read:
            try:
                self._read[owner.directory] = read_effective_mems(owner)
            except KernelCallError:
                # The cgroup was removed, or lost its controller, since we looked.
                self._owners.clear()
                self._read[owner.directory] = None
        return self._read[owner.directory]

    def _of_process(self, pid: int) -> Nodes:
        try:
            return read_status(pid, self._root).mems_allowed
        except ProcessGone:
            return frozenset[NodeId]()


def _parent(cgroup: Cgroup) -> Cgroup | None:
    path = cgroup.path.rstrip("/")
    if not path:
        return None
    above = path.rpartition("/")[0] or "/"
    return Cgroup(cgroup.directory.parent, cgroup.version, above, cgroup.no_prefix)
