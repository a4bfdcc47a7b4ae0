"""Two worlds for one suite: the fake kernel here, and the kernel of whatever host (a lab guest) this runs on.

A world starts jobs of each kind of memory on node 0, moves them to node 1 by the same mover, and sums up their content.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from node_agent.core.facts import ProcessRef, TaskFacts
from node_agent.core.pages import Backing
from node_agent.linux.host_memory import LinuxHostMemory
from node_agent.linux.memory import HostMemory
from node_agent.linux.mover import MemoryMover
from node_agent.ports import MoveJob
from numaplace.kernel.procfs import read_identity
from numaplace.kernel.topology import read_topology
from numaplace.model.hand import HandMove
from numaplace.model.ids import Cpus, JobId, MoveId, NodeId, Nodes, TaskId
from numaplace.model.job import MemoryPolicy
from numaplace.model.move import MoveOrder, MoveOutcome
from numaplace.model.policy import Budget, Policy
from numaplace.model.topology import Topology
from tests.fakes.kernel import BASE, HUGE, MIB, UNTOUCHED, ZERO, FakeHost, FakeProcess
from tests.fakes.moves import Control

OLD, NEW = frozenset({NodeId(0)}), frozenset({NodeId(1)})
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

    def end(self) -> None:
        """End it."""
        ...


@dataclass
class World:
    """Jobs, a mover and the host they are on."""

    host: HostMemory
    topology: Topology
    start: Callable[[str, int], Job]
    mems: Nodes
    jobs: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mover = MemoryMover(self.host, sorted(self.topology.with_memory))

    def job(self, kind: str, mb: int = 16) -> Job:
        """Start a job with so many megabytes of a kind on node 0; it ends with the test."""
        job = self.start(kind, mb)
        self.jobs.append(job)
        return job

    def task(self, processes: Sequence[ProcessRef]) -> TaskFacts:
        """The facts of a task of these processes."""
        cpus: Cpus = self.topology.by_id[NodeId(1)].cpus
        return TaskFacts(TaskId("task"), JobId("job"), "job", tuple(processes), 1, cpus, self.mems, 0.0)

    def move(self, job: Job, policy: Policy = GENEROUS, home: Nodes = NEW, previous: Nodes = OLD) -> MoveOutcome:
        """Move a job."""
        order = MoveOrder(MoveId("move"), TaskId("task"), home, previous, 1, policy)
        return self.mover.move(MoveJob(order, self.task(job.processes), self.topology), Control())

    def by_hand(self, job: Job, what: HandMove, policy: Policy = GENEROUS) -> MoveJob:
        """What is asked for by hand, of a job's processes."""
        order = MoveOrder(MoveId("hand-move"), TaskId("task"), NEW, OLD, 1, policy)
        return MoveJob(order, self.task(job.processes), self.topology, what)

    def nodes_of(self, job: Job, addresses: Sequence[int]) -> list[int]:
        """Where the pages at these addresses of its first process are, or negative numbers."""
        with closing(self.host.open(job.processes[0])) as memory:
            return [int(node) for node in memory.query(np.array(addresses, np.uint64))]

    def close(self) -> None:
        """End all jobs."""
        for job in self.jobs:
            job.end()


@dataclass
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

    def end(self) -> None:
        """End it."""
        for member in self.members:
            self.host.end(member)


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

    return World(host, host.topology(), start, frozenset(host.nodes))


class RealJob:
    """A job of tests/jobs on this host's kernel, with its memory on node 0."""

    def __init__(self, kind: str, mb: int) -> None:
        nodes = ["--cpunodebind=0"]
        command = ["numactl", *nodes, sys.executable, "-m", "tests.jobs.memory", kind, str(mb)]
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

    def unchanged(self) -> bool:
        """Whether its checksums are what they were."""
        assert self._program.stdin is not None
        self._program.stdin.write("check\n")
        self._program.stdin.flush()
        return self._hear()["checksums"] == self._checksums

    def tried(self) -> None:
        """The kernel does not tell."""

    def end(self) -> None:
        """End it and what it started."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, 9)
        self._program.communicate()


def real_world() -> World:
    """This host, which needs two nodes."""
    topology = read_topology()
    return World(LinuxHostMemory(), topology, RealJob, topology.with_memory)


def node_bytes(outcome: MoveOutcome, node: NodeId) -> int:
    """What lies on a node after a move."""
    return int(np.sum([size for n, size in outcome.residency.by_node.items() if n == node]))
