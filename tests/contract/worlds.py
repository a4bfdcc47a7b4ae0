"""Two worlds for one suite: the fake kernel here, and the kernel of whatever host (a lab guest) this runs on.

A world starts jobs of each kind of memory on node 0, puts them into cpusets, moves them to node 1 by the same mover,
and sums up their content.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import numpy as np

from node_agent.core.facts import ProcessRef, TaskFacts
from node_agent.core.strategy import KernelTraits
from node_agent.linux.attribution import Attribution, NoAttribution
from node_agent.linux.host_memory import LinuxHostMemory
from node_agent.linux.memory import CpusetHandle, HostMemory
from node_agent.linux.mover import MemoryMover
from node_agent.ports import MoveJob
from numaplace.kernel.cgroups import attach_process
from numaplace.kernel.cpusets import read_effective_mems, write_memory_migrate, write_mems
from numaplace.kernel.numa_maps import read_numa_maps
from numaplace.kernel.procfs import read_identity
from numaplace.kernel.topology import read_topology
from numaplace.model.hand import HandMove
from numaplace.model.ids import Cpus, JobId, MoveId, NodeId, Nodes, TaskId
from numaplace.model.job import MemoryPolicy
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome
from numaplace.model.policy import Budget, Policy
from numaplace.model.residency import Backing
from numaplace.model.topology import Topology
from tests.contract.cgroups import make_cpuset, remove_cgroup
from tests.fakes.kernel import BASE, HUGE, MIB, UNTOUCHED, ZERO, FakeCpuset, FakeHost, FakeProcess
from tests.fakes.moves import Control

REAL = os.environ.get("NUMAPLACE_CONTRACT") == "real"
LIBRARIES = 24 * MIB
"""More than a Python program shares with others."""
OLD, NEW = frozenset({NodeId(0)}), frozenset({NodeId(1)})
HOLDS_THE_LOCK = KernelTraits(migrate_holds_lock=True, migrate_bytes_per_s=200 * MIB)
"""As an old kernel is found by probing: told, so that no probe on a busy machine decides which way is tested."""
PATIENT = Policy(budget=Budget(stall_ms_max=60_000, headroom_bytes=8 * MIB))
"""It allows the stall of a whole-process call."""
GENEROUS = Policy(budget=Budget(headroom_bytes=8 * MIB))


class Job(Protocol):
    """A job of one kind of memory."""

    @property
    def address(self) -> int:
        """Where its memory of that kind begins, in its first process."""
        ...

    @property
    def size_bytes(self) -> int:
        """How much memory of its kind it has."""
        ...

    @property
    def processes(self) -> tuple[ProcessRef, ...]:
        """The processes it consists of."""
        ...

    def unchanged(self) -> bool:
        """Whether its content is to the byte what it was, in each of its processes."""
        ...

    def tried(self) -> int | None:
        """How many pages the kernel has tried in vain; None where that cannot be told."""
        ...

    def bytes_on(self, node: NodeId) -> int:
        """How much of its memory of its kind lies on a node, by the kernel's own word."""
        ...

    def release(self) -> None:
        """Let go of what pins its pages."""
        ...

    def end(self) -> None:
        """End it."""
        ...


class Cpuset(CpusetHandle, Protocol):
    """A cpuset with a job in it; when its mems are written the kernel moves what lies elsewhere."""

    @property
    def path(self) -> str:
        """Its cgroup's path."""
        ...

    def remove(self) -> None:
        """Remove it, once nobody is in it."""
        ...


@dataclass
class World:
    """Jobs, a mover and the host they are on."""

    host: HostMemory
    topology: Topology
    start: Callable[[str, int], Job]
    confine: Callable[[Job, Nodes], Cpuset]
    attribution: Attribution
    jobs: list[Job] = field(default_factory=list)
    cpusets: dict[Job, Cpuset] = field(default_factory=dict)
    owned: set[str] = field(default_factory=set)
    traits: KernelTraits = field(default_factory=KernelTraits)

    def __post_init__(self) -> None:
        nodes = sorted(self.topology.with_memory)
        self.mover = MemoryMover(
            self.host,
            nodes,
            lambda: self.traits,
            owns_cpuset=lambda path: path in self.owned,
            attribution=self.attribution,
        )

    def job(self, kind: str, mb: int = 16) -> Job:
        """Start a job with so many megabytes of a kind on node 0; it ends with the test."""
        job = self.start(kind, mb)
        self.jobs.append(job)
        return job

    def cpuset(self, job: Job, mems: Nodes, *, ours: bool = False) -> Cpuset:
        """Put a job into a cpuset of its own, which is the mover's to write or somebody else's."""
        cpuset = self.cpusets[job] = self.confine(job, mems)
        if ours:
            self.owned.add(cpuset.path)
        return cpuset

    def task(self, job: Job) -> TaskFacts:
        """The facts of a task of a job's processes."""
        cpus: Cpus = self.topology.by_id[NodeId(1)].cpus
        cpuset = self.cpusets.get(job)
        mems, cgroup = (self.topology.with_memory, "") if cpuset is None else (cpuset.mems(), cpuset.path)
        return TaskFacts(TaskId("task"), JobId("job"), "job", tuple(job.processes), 1, cpus, mems, 0.0, cgroup)

    def move(
        self,
        job: Job,
        policy: Policy = GENEROUS,
        home: Nodes = NEW,
        previous: Nodes = OLD,
        control: Control | None = None,
    ) -> MoveOutcome:
        """Move a job."""
        order = MoveOrder(MoveId("move"), TaskId("task"), home, previous, 1, policy)
        return self.mover.move(MoveJob(order, self.task(job), self.topology), control or Control())

    def by_hand(self, job: Job, what: HandMove, policy: Policy = GENEROUS) -> MoveJob:
        """What is asked for by hand, of a job's processes."""
        order = MoveOrder(MoveId("hand-move"), TaskId("task"), NEW, OLD, 1, policy)
        return MoveJob(order, self.task(job), self.topology, what)

    def nodes_of(self, job: Job, addresses: Sequence[int]) -> list[int]:
        """Where the pages at these addresses of its first process are, or negative numbers."""
        with closing(self.host.open(job.processes[0])) as memory:
            return [int(node) for node in memory.query(np.array(addresses, np.uint64))]

    def close(self) -> None:
        """End all jobs and remove their cpusets."""
        for job in self.jobs:
            job.end()
        for cpuset in self.cpusets.values():
            cpuset.remove()


@dataclass(eq=False)
class FakeJob:
    """A job on the fake kernel; a page there has no content, but it is the same page as long as its number is."""

    host: FakeHost
    members: tuple[FakeProcess, ...]
    size_bytes: int

    def __post_init__(self) -> None:
        self._before = self._content()

    @property
    def address(self) -> int:
        """Where its memory begins."""
        return self.members[0].regions[0].region.start

    @property
    def processes(self) -> tuple[ProcessRef, ...]:
        """The processes it consists of."""
        return tuple(member.ref for member in self.members)

    def _content(self) -> list[list[int]]:
        return [region.folios.tolist() for member in self.members for region in member.regions]

    def unchanged(self) -> bool:
        """Whether every page is the one it was."""
        return self._content() == self._before

    def tried(self) -> int:
        """How many pages the kernel has tried in vain."""
        return sum(len(member.tried) for member in self.members)

    def bytes_on(self, node: NodeId) -> int:
        """How much of its memory lies on a node."""
        return self.host.bytes_by_node(self.members).get(node, 0)

    def release(self) -> None:
        """Let go of what pins its pages."""
        for member in self.members:
            for region in member.regions:
                self.host.folios.pinned[region.folios] = False

    def end(self) -> None:
        """End it."""
        for member in self.members:
            self.host.end(member)


class _NamedCpuset:
    """A cpuset on the fake kernel, under a name."""

    def __init__(self, path: str, cpuset: FakeCpuset) -> None:
        self.path = path
        self.mems, self.write_mems = cpuset.mems, cpuset.write_mems

    def remove(self) -> None:
        """It goes with its host."""


_FAKE: Mapping[str, Mapping[str, object]] = {
    "base": {},
    "locked": {},
    "cow": {},
    "pinned": {},
    "thp": {"page_bytes": HUGE},
    "hugetlb": {"page_bytes": HUGE, "hugetlb": True},
    "file": {"backing": Backing.FILE},
    "shm": {"backing": Backing.SHARED},
    "bound": {"policy": MemoryPolicy.BIND, "policy_nodes": OLD},
    "preferred": {"policy": MemoryPolicy.PREFERRED, "policy_nodes": OLD},
    "holes": {},
    "interleaved": {"policy": MemoryPolicy.INTERLEAVE, "policy_nodes": OLD | NEW},
}


def fake_world() -> World:
    """A host that is not there."""
    host = FakeHost.of_two()
    for node in host.nodes.values():
        node.hugetlb_free = 16

    def start(kind: str, mb: int) -> FakeJob:
        options = dict(_FAKE[kind])
        count = mb * MIB // (HUGE if "page_bytes" in options else BASE)
        nodes = [0, 1] * (count // 2) if kind == "interleaved" else [0] * count
        process = host.start()
        if kind == "holes":
            nodes += [ZERO, UNTOUCHED]
        region = host.map(process, nodes, **options)  # type: ignore[arg-type] # the options are those of map
        members: tuple[FakeProcess, ...] = (process,)
        if kind in {"shm", "cow"}:
            members = (process, host.fork(process))
        if kind == "pinned":
            host.folios.pinned[region.folios[: count // 2]] = True
        return FakeJob(host, members, mb * MIB)

    def confine(job: Job, mems: Nodes) -> Cpuset:
        members = [host.processes[process.pid] for process in job.processes]
        for member in members:
            member.mems = mems
        return _NamedCpuset("/confined", host.cpuset("/confined", members))

    return World(host, host.topology(), start, confine, NoAttribution())


class RealJob:
    """A job of tests/jobs on this host's kernel, with its memory on one node."""

    def __init__(self, kind: str, mb: int, node: int = 0) -> None:
        command = ["numactl", f"--cpunodebind={node}", sys.executable, "-m", "tests.jobs.memory", kind, str(mb)]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = self._hear()
        self.address, self.size_bytes = int(str(ready["address"])), int(str(ready["size_bytes"]))
        self._checksums = ready["checksums"]
        pids = [int(pid) for pid in ready["pids"]]  # type: ignore[attr-defined] # a list, by the job's own words
        self.processes = tuple(ProcessRef(pid, read_identity(pid).start_ticks) for pid in pids)

    def _hear(self) -> dict[str, object]:
        assert self._program.stdout is not None
        heard: dict[str, object] = json.loads(self._program.stdout.readline())
        return heard

    def _ask(self, word: str) -> dict[str, object]:
        assert self._program.stdin is not None
        self._program.stdin.write(f"{word}\n")
        self._program.stdin.flush()
        return self._hear()

    def unchanged(self) -> bool:
        """Whether its checksums are what they were."""
        return self._ask("check")["checksums"] == self._checksums

    def tried(self) -> None:
        """The kernel does not tell."""

    def bytes_on(self, node: NodeId) -> int:
        """How much of its memory lies on a node, by numa_maps."""
        mappings = read_numa_maps(self.processes[0].pid)
        area = max((m for m in mappings if m.start <= self.address), key=lambda mapping: mapping.start)
        return area.bytes_by_node.get(node, 0)

    def release(self) -> None:
        """Let go of what pins its pages."""
        assert self._ask("release") == {"released": True}

    def end(self) -> None:
        """End it and what it started; once, for others may have its pids then."""
        processes, self.processes = self.processes, ()
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, 9)
        self._program.communicate()


class RealCpuset:
    """A cpuset of this host's, where the kernel moves pages at a write to its mems: on v1 as well."""

    def __init__(self, name: str, job: Job, mems: Nodes) -> None:
        self._cgroup = make_cpuset(name, mems=mems)
        self.path = self._cgroup.path
        if self._cgroup.version == 1:
            write_memory_migrate(self._cgroup, migrate=True)
        for process in job.processes:
            attach_process(self._cgroup, process.pid)

    def mems(self) -> Nodes:
        """The nodes that it allows."""
        return read_effective_mems(self._cgroup)

    def write_mems(self, mems: Nodes) -> None:
        """Allow these nodes and no others."""
        write_mems(self._cgroup, mems)

    def remove(self) -> None:
        """Remove it, once nobody is in it."""
        remove_cgroup(self._cgroup.directory)


def real_world(attribution: Attribution) -> World:
    """This host, which needs two nodes."""
    names = (f"numaplace-contract-{os.getpid()}-{number}" for number in count())
    return World(
        LinuxHostMemory(),
        read_topology(),
        RealJob,
        lambda job, mems: RealCpuset(next(names), job, mems),
        attribution,
    )


@contextmanager
def world_of_this_run(attribution: Attribution) -> Iterator[World]:
    """The world that this run is about; the attribution is for a real one."""
    world = real_world(attribution) if REAL else fake_world()
    try:
        yield world
    finally:
        world.close()


def settled(job: Job, outcome: MoveOutcome, *reasons: LeftReason) -> None:
    """What must hold after every move: not a byte changed, every byte away from home is explained, ours are counted."""
    assert job.unchanged()
    remote = outcome.residency.remote_bytes(NEW)
    explained = sum(size for reason, size in outcome.left.items() if reason is not LeftReason.VANISHED)
    # A real job touches pages while it is looked at; the fake is exact.
    assert abs(explained - remote) <= (MIB if REAL else 0)
    often = {LeftReason.SHARED, LeftReason.VANISHED, LeftReason.BUSY, LeftReason.NOT_REACHED} if REAL else set()
    unexpected = {reason: size for reason, size in outcome.left.items() if reason not in often | set(reasons)}
    assert not unexpected, f"left for other reasons than expected: {unexpected}"
    assert outcome.left.get(LeftReason.SHARED, 0) <= LIBRARIES
    if REAL:
        ours, of_all = outcome.counters.ours, outcome.counters.host
        assert ours is not None
        assert outcome.moved_bytes <= ours.pgmigrate_success * BASE <= of_all.pgmigrate_success * BASE


class Part:
    """Only the first process of a job."""

    def __init__(self, job: Job) -> None:
        self.address, self.size_bytes, self.processes = job.address, job.size_bytes, job.processes[:1]
        self.unchanged, self.tried, self.bytes_on = job.unchanged, job.tried, job.bytes_on
        self.release, self.end = job.release, job.end
