"""The truth about the followed tasks, read from the kernel: which there are, and where they may run now.

A light sweep asks only where the known threads may run; a structural one also looks for processes, cgroups and threads
that came or went. Both read the topology anew when CPUs or nodes came or went, and look again if that happened in
mid-sweep, so that a sweep's CPUs and its topology belong together.

Methods block, and may be called from any thread.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from node_agent.core.facts import ProcessRef, Sweep, TaskFacts
from node_agent.core.rules import SelectionRules
from node_agent.core.selection import CGROUP, SelectedTask, printable
from node_agent.linux.adoptions import AdoptionFile
from node_agent.linux.processes import Places
from node_agent.linux.tasks import Host, TaskList
from node_agent.linux.threads import Mems, Threads
from numaplace.kernel.cgroups import read_hierarchies
from numaplace.kernel.errors import ProcessGone
from numaplace.kernel.files import HOST, read_bytes, read_text
from numaplace.kernel.procfs import read_stat
from numaplace.model.ids import JobId, Nodes, TaskId
from numaplace.model.topology import Topology

TOPOLOGY_READS_MAX = 3
"""A host that changes its CPUs faster than we can look gets a sweep with the last topology."""
LOOKED_AGAIN_MAX = 256
"""Processes of changed tasks whose cgroup is read again at once; the others have their turn."""
_ONLINE = ("sys/devices/system/cpu/online", "sys/devices/system/node/online", "sys/devices/system/node/has_memory")


def boot_clock_s() -> float:
    """Seconds since boot, suspend included: the clock of process start times."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class TaskSweep:
    """The `TaskSource` of this host."""

    def __init__(
        self,
        tasks: TaskList,
        host: Host,
        read_topology: Callable[[], Topology],
        *,
        now_s: Callable[[], float] = boot_clock_s,
        get_affinity: Callable[[int], Collection[int]] = os.sched_getaffinity,
    ) -> None:
        self._tasks = tasks
        self._host = host
        self._read_topology = read_topology
        self._now_s = now_s
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self._get_affinity = get_affinity
        self._threads = Threads(host.root, get_affinity)
        self._mems = Mems(host.root)
        self._facts: dict[TaskId, TaskFacts] = {}
        self._topology: tuple[tuple[bytes, ...], Topology] | None = None
        self._lock = threading.Lock()

    @property
    def remarks(self) -> tuple[str, ...]:
        """In plain words what is not as it should be."""
        return self._tasks.remarks

    def sweep(self, *, structural: bool) -> Sweep:
        """See `TaskSource`. Raises KernelFormatError if the kernel speaks in unknown forms."""
        with self._lock:
            return self._sweep(structural=structural)

    def adopt(
        self, job: JobId, *, process: ProcessRef | None = None, cgroup: str | None = None, by_uid: int = 0
    ) -> TaskFacts:
        """See `TaskSource`; raises OSError too if it could not be written down, and is not followed then."""
        with self._lock:
            if process is not None and cgroup is None:
                task = self._tasks.adopt_process(job, process, by_uid)
            elif cgroup is not None and process is None:
                task = self._tasks.adopt_cgroup(job, cgroup, by_uid)
            else:
                raise ValueError("adopt either a process or a cgroup")
            found = {facts.id: facts for facts in self._sweep(structural=True).tasks}
            name = TaskId(printable(task))
            if name in found:
                return found[name]
            if process is not None:
                raise ProcessGone("adopting", errno.ESRCH, process.pid)
            # An empty cgroup: it becomes a task when somebody enters.
            path = task.removeprefix(CGROUP)
            return TaskFacts(name, job, "", (), 0, frozenset(), frozenset(), self._now_s(), cgroup=path)

    def find(self, *, pid: int | None = None, cgroup: str | None = None, alone: bool = False) -> TaskFacts:
        """See `TaskSource`: adopted into a list of its own, which is then dropped."""
        host = replace(self._host, own_pids=frozenset())
        tasks = TaskList(SelectionRules(), host, AdoptionFile(None, ""))
        name = JobId(f"pid-{pid}" if pid is not None else (cgroup or "").rpartition("/")[2])
        try:
            process = None if pid is None else self._process(pid)
            once = TaskSweep(tasks, host, self._read_topology, now_s=self._now_s, get_affinity=self._get_affinity)
            facts = once.adopt(name, process=process, cgroup=cgroup)
            return once.of_one(process) if alone and process is not None else facts
        except ProcessGone as error:
            raise LookupError(f"there is no process {pid}") from error

    def of_one(self, ref: ProcessRef) -> TaskFacts:
        """What is true of one process of the tasks without the others of its own. Raises ProcessGone."""
        for task in self._tasks.tasks:
            for process in task.processes:
                if process.ref == ref:
                    facts = self._read(replace(task, processes=(process,), cgroup=process.cgroup))
                    if facts is not None:
                        return facts
        raise ProcessGone("finding", errno.ESRCH, ref.pid)

    def _process(self, pid: int) -> ProcessRef:
        """Whose pid it is now. Raises ProcessGone."""
        return ProcessRef(pid, read_stat(pid, self._host.root, tid=pid).start_ticks)

    def release(self, job: JobId, *, by_uid: int = 0) -> int:
        """See `TaskSource`; raises OSError if it could not be written down, and is still followed then."""
        with self._lock:
            return self._tasks.release(job, by_uid)

    def _sweep(self, *, structural: bool) -> Sweep:
        at_s = self._now_s()
        if structural:
            self._refresh(at_s)
        self._threads.refresh()
        for _ in range(TOPOLOGY_READS_MAX):
            online = self._online()
            topology = self._topology_of(online)
            self._mems.forget(owners=structural)
            facts = self._look()
            if self._online() == online:
                break
        return Sweep(at_s, topology, facts)

    def _refresh(self, at_s: float) -> None:
        if self._tasks.refresh(at_s):
            self._threads.follow(process.ref for task in self._tasks.tasks for process in task.processes)

    def _online(self) -> tuple[bytes, ...]:
        """The kernel's words for which CPUs and nodes there are now; compared, not understood."""
        return tuple(self._words(name) for name in _ONLINE)

    def _words(self, name: str) -> bytes:
        try:
            return read_bytes(self._host.root / name)
        except OSError:
            # A kernel without NUMA has no nodes; that does not change either.
            return b""

    def _topology_of(self, online: tuple[bytes, ...]) -> Topology:
        if self._topology is None or self._topology[0] != online:
            self._topology = (online, self._read_topology())
        return self._topology[1]

    def _look(self) -> tuple[TaskFacts, ...]:
        """Read where each task may run; look again at the processes of those that changed, for they may have moved."""
        before, self._facts = self._facts, self._read_all()
        changed = [
            process.ref.pid
            for task in self._tasks.tasks
            if task.id in self._facts and task.id in before and self._facts[task.id].cpus != before[task.id].cpus
            for process in task.processes
        ]
        if changed and self._tasks.look_again(changed[:LOOKED_AGAIN_MAX]):
            self._threads.follow(process.ref for task in self._tasks.tasks for process in task.processes)
            self._facts = self._read_all()
        return tuple(self._facts.values())

    def _read_all(self) -> dict[TaskId, TaskFacts]:
        read = (self._read(task) for task in self._tasks.tasks)
        return {facts.id: facts for facts in read if facts is not None}

    def _read(self, task: SelectedTask) -> TaskFacts | None:
        """What is true of a task now; None if nothing is left of it."""
        cpus = self._threads.cpus(process.ref for process in task.processes)
        counts = {process.ref: self._threads.count(process.ref) for process in task.processes}
        alive = tuple(ref for ref, count in counts.items() if count)
        if not cpus or not alive:
            return None
        first = task.first
        return TaskFacts(
            id=TaskId(printable(task.id)),
            job=JobId(printable(task.job)),
            command=first.command,
            processes=alive,
            threads=sum(counts.values()),
            cpus=cpus,
            mems=self._mems_of(task),
            started_s=first.ref.start_ticks / self._ticks_per_s,
            cgroup=task.cgroup,
            uid=_owner(task),
        )

    def _mems_of(self, task: SelectedTask) -> Nodes:
        pids = {process.cgroup: process.ref.pid for process in task.processes if self._threads.count(process.ref)}
        nodes = [self._mems.of(self._host.places.cgroup(path), pid) for path, pid in pids.items()]
        return nodes[0] if len(nodes) == 1 else frozenset().union(*nodes)


def _owner(task: SelectedTask) -> int:
    """The user whose processes all of them are, or root."""
    owners = {process.uid for process in task.processes}
    return owners.pop() if len(owners) == 1 else 0


def open_tasks(
    rules: SelectionRules, read_topology: Callable[[], Topology], adoptions: Path | None = None, root: Path = HOST
) -> TaskSweep:
    """The tasks of the running host.

    Args:
        rules: which to follow besides the adopted ones.
        read_topology: called at the first sweep and whenever CPUs or nodes came or went.
        adoptions: the file that remembers adoptions over a restart of the agent; without one they are not.
        root: the root of the host's files, another one for a captured host.

    Raises:
        OSError: the file of adoptions may not be read.
        KernelFormatError: the kernel speaks in unknown forms.
    """
    boot_id = read_text(root / "proc/sys/kernel/random/boot_id").strip()
    host = Host(Places.among(read_hierarchies(root)), root)
    return TaskSweep(TaskList(rules, host, AdoptionFile(adoptions, boot_id)), host, read_topology)
