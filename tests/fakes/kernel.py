"""A host's memory that is not there: processes, pages, nodes and a clock, with the quirks of the real calls.

It fulfils `node_agent.linux.memory.HostMemory`, so that the mover runs on it unchanged, and passes the same contract
suite as real kernels (tests/contract). The quirks are those of KERNEL.md: a call that fails in part writes no status
for the failing run; any entry that is not queued flushes what is; EACCES for a target outside the cpuset; a huge page
without a free block on the target is split, and only a counter tells; ENOMEM when the target is dry, after a part has
moved; an absent page is -ENOENT on new kernels and -EFAULT on old ones; on old ones a page that AutoNUMA has marked is
-ENOENT too, and a huge one -EFAULT, until it is read.

Time is virtual and moves only with calls and sleeps; what is to happen at a time (a process ends, a node fills up)
happens between two pages of a call if it is due then.
"""

import errno
import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from node_agent.core.facts import ProcessRef, Room, TaskFacts
from node_agent.core.pages import Addresses, Frames, Ints, Mask, PageFlag, Pages, Region, Sizes
from node_agent.linux.memory import Felt, RegionPolicy
from numaplace.kernel.errors import Denied, KernelCallError, OutsideCpuset, ProcessGone, TargetFull
from numaplace.model.ids import CpuId, Cpus, JobId, NodeId, Nodes, TaskId
from numaplace.model.job import MemoryPolicy
from numaplace.model.move import MigrationCounters
from numaplace.model.residency import Backing
from numaplace.model.topology import LOCAL_DISTANCE, Node, Topology

BASE = 4096
HUGE = 2 << 20
HUGE_PAGES = HUGE // BASE
UNTOUCHED, ZERO = -1, -2
"""Among a region's pages: nothing there, and the kernel's page of zeros."""
MIB = 1 << 20


class VirtualClock:
    """Seconds that pass only when told to, and what is to happen at a time."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def now_s(self) -> float:
        """The time."""
        return self._now_s

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        """Let something happen when the clock gets there."""
        heapq.heappush(self._events, (when_s, self._number, action))
        self._number += 1

    def advance(self, seconds: float) -> None:
        """Let time pass; what is due happens at its time."""
        until = self._now_s + seconds
        while self._events and self._events[0][0] <= until:
            when, _, action = heapq.heappop(self._events)
            self._now_s = max(self._now_s, when)
            action()
        self._now_s = until


@dataclass(slots=True)
class FakeNode:
    """One node.

    ``used_pages`` are taken by others than the fake's processes; ``free_blocks`` are 2 MB blocks, or None for as many
    as there is room; ``resident_pages`` is the host's own count.
    """

    id: NodeId
    pages: int
    cpus: Cpus
    high_pages: int = 1024
    min_pages: int = 512
    used_pages: int = 0
    free_blocks: int | None = None
    hugetlb_free: int = 0
    resident_pages: int = 0


@dataclass(frozen=True, slots=True)
class Quirks:
    """How this kernel behaves and what its calls cost, in seconds; defaults are roughly 6.12 under emulation."""

    old: bool = False
    call_s: float = 0.002
    page_s: float = 10e-6
    huge_s: float = 5e-3
    query_s: float = 0.5e-6

    @property
    def absent(self) -> int:
        """The errno of a page that was never touched."""
        return errno.EFAULT if self.old else errno.ENOENT


@dataclass(slots=True, eq=False)
class FakeRegion:
    """A mapping; ``folios`` are the numbers of its pages in the host's table, -1 where nothing is."""

    region: Region
    page_bytes: int
    hugetlb: bool
    folios: NDArray[np.int64]
    policy: MemoryPolicy = MemoryPolicy.DEFAULT
    policy_nodes: Nodes = frozenset()


@dataclass(slots=True, eq=False)
class FakeProcess:
    """A process: its mappings, and the nodes that its cpuset allows."""

    ref: ProcessRef
    mems: Nodes
    regions: list[FakeRegion] = field(default_factory=list)
    alive: bool = True
    denied: bool = False
    uid: int = 0
    lock_held_s: float = 0.0
    tried: list[int] = field(default_factory=list)
    """Numbers of pages that the kernel tried to move in vain, once for each time it was asked."""


class Folios:
    """The host's pages as columns, by number."""

    def __init__(self) -> None:
        self.node = np.empty(0, np.int32)
        self.size = np.empty(0, np.int64)
        self.file = np.empty(0, np.bool_)
        self.pinned = np.empty(0, np.bool_)
        self.busy = np.empty(0, np.int32)
        self.marked = np.empty(0, np.bool_)
        self.mapped = np.empty(0, np.int64)
        self.frame = np.empty(0, np.uint64)
        self._next_frame = HUGE_PAGES

    def add(self, nodes: Sequence[int] | Ints, size: int, *, file: bool) -> NDArray[np.int64]:
        """New pages on these nodes, mapped by nobody yet; returns their numbers."""
        count, first = len(nodes), len(self.node)
        self.node = np.concatenate([self.node, np.asarray(nodes, np.int32)])
        self.size = np.concatenate([self.size, np.full(count, size, np.int64)])
        self.file = np.concatenate([self.file, np.full(count, file)])
        self.pinned = np.concatenate([self.pinned, np.zeros(count, np.bool_)])
        self.busy = np.concatenate([self.busy, np.zeros(count, np.int32)])
        self.marked = np.concatenate([self.marked, np.zeros(count, np.bool_)])
        self.mapped = np.concatenate([self.mapped, np.zeros(count, np.int64)])
        self.frame = np.concatenate([self.frame, self.fresh_frames(count)])
        return np.arange(first, first + count)

    def fresh_frames(self, count: int) -> Frames:
        """Frames that no page had before; never neighbours, as every page here is a folio of its own."""
        frames = self._next_frame + np.arange(count, dtype=np.uint64) * np.uint64(HUGE_PAGES)
        self._next_frame += count * HUGE_PAGES
        return frames


class FakeCpuset:
    """A cpuset for some processes; when mems are written the kernel moves what lies elsewhere, if it is that kind."""

    def __init__(self, host: "FakeHost", processes: Sequence[FakeProcess], mems: Nodes) -> None:
        self._host, self._processes, self._mems = host, processes, mems
        self.writes: list[Nodes] = []

    def mems(self) -> Nodes:
        """The nodes it allows."""
        return self._mems

    def write_mems(self, mems: Nodes) -> None:
        """Allow these nodes and no others."""
        self.writes.append(mems)
        old, self._mems = self._mems, mems
        for process in self._processes:
            process.mems = mems
            if self._host.moves_on_mems_write:
                for source in sorted(old - mems):
                    self._host.migrate_all(process, source, min(mems), shared=True)


class FakeHost:
    """The host; see the module."""

    base_bytes = BASE
    thp_bytes = HUGE
    concurrent = False

    def __init__(
        self,
        nodes: Iterable[FakeNode],
        *,
        quirks: Quirks | None = None,
        clock: VirtualClock | None = None,
        sees_frames: bool = True,
        may_move_all: bool = True,
        moves_on_mems_write: bool = True,
    ) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.quirks = quirks or Quirks()
        self.clock = clock or VirtualClock()
        self.sees_frames = sees_frames
        self.may_move_all = may_move_all
        self.moves_on_mems_write = moves_on_mems_write
        self.processes: dict[int, FakeProcess] = {}
        self.cpusets: dict[str, FakeCpuset] = {}
        self.folios = Folios()
        self.done = MigrationCounters()
        self.calls: list[int] = []
        self.pressure_us: Callable[[float], int] = lambda _: 0
        self.delay_ns: Callable[[float], float] = lambda _: 0.0
        self._next_pid = 100

    # What a test says of the host.

    @classmethod
    def of_two(cls, mb: int = 1024, **options: object) -> "FakeHost":
        """Two equal nodes of so many megabytes, two CPUs each."""
        nodes = (FakeNode(NodeId(n), mb * MIB // BASE, frozenset({CpuId(2 * n), CpuId(2 * n + 1)})) for n in (0, 1))
        return cls(nodes, **options)  # type: ignore[arg-type] # the options are those of the constructor

    def topology(self) -> Topology:
        """The nodes, all equally far from each other."""
        ids = sorted(self.nodes)
        return Topology(
            tuple(
                Node(
                    n,
                    self.nodes[n].cpus,
                    self.nodes[n].pages * BASE,
                    {other: LOCAL_DISTANCE if other == n else 2 * LOCAL_DISTANCE for other in ids},
                )
                for n in ids
            )
        )

    def start(self, mems: Nodes | None = None) -> FakeProcess:
        """A new process without memory."""
        self._next_pid += 1
        ref = ProcessRef(self._next_pid, 1000 + self._next_pid)
        process = FakeProcess(ref, frozenset(self.nodes) if mems is None else mems)
        self.processes[ref.pid] = process
        return process

    def map(
        self,
        process: FakeProcess,
        nodes: Sequence[int],
        *,
        page_bytes: int = BASE,
        backing: Backing = Backing.PRIVATE,
        hugetlb: bool = False,
        policy: MemoryPolicy = MemoryPolicy.DEFAULT,
        policy_nodes: Nodes = frozenset(),
    ) -> FakeRegion:
        """Map and touch pages, one on each of these nodes; UNTOUCHED and ZERO are on none."""
        wanted = np.asarray(nodes, np.int32)
        folios = np.minimum(wanted, UNTOUCHED).astype(np.int64)
        here = wanted >= 0
        file = backing is not Backing.PRIVATE
        folios[here] = self.folios.add(wanted[here], page_bytes, file=file)
        start = max((r.region.end for r in process.regions), default=0x7000_0000_0000) + HUGE
        start = -(-start // HUGE) * HUGE
        name = "" if backing is Backing.PRIVATE else f"8:{len(self.folios.node)}"
        region = Region(start, start + len(wanted) * page_bytes, backing, name, start if not name else 0)
        made = FakeRegion(region, page_bytes, hugetlb, folios, policy, policy_nodes)
        self._attach(process, made)
        return made

    def share(self, process: FakeProcess, region: FakeRegion) -> FakeRegion:
        """Let another process map the same pages, at the same address."""
        made = FakeRegion(
            region.region, region.page_bytes, region.hugetlb, region.folios.copy(), region.policy, region.policy_nodes
        )
        self._attach(process, made)
        return made

    def fork(self, parent: FakeProcess) -> FakeProcess:
        """A child that has all of its parent's pages."""
        child = self.start(parent.mems)
        for region in parent.regions:
            self.share(child, region)
        return child

    def _attach(self, process: FakeProcess, region: FakeRegion) -> None:
        process.regions.append(region)
        process.regions.sort(key=lambda r: r.region.start)
        numbers = region.folios[region.folios >= 0]
        self._reside(numbers[self.folios.mapped[numbers] == 0], 1)
        np.add.at(self.folios.mapped, numbers, 1)

    def _unmap(self, numbers: NDArray[np.int64]) -> None:
        numbers = numbers[numbers >= 0]
        np.subtract.at(self.folios.mapped, numbers, 1)
        self._reside(numbers[self.folios.mapped[numbers] == 0], -1)

    def _reside(self, numbers: NDArray[np.int64], sign: int) -> None:
        """These pages took up room on their nodes, or gave it back."""
        for node in self.nodes.values():
            mine = numbers[self.folios.node[numbers] == node.id]
            node.resident_pages += sign * int(self.folios.size[mine].sum()) // BASE

    def end(self, process: FakeProcess) -> None:
        """The process exits: its pages are freed unless others map them."""
        process.alive = False
        for region in process.regions:
            self._unmap(region.folios)
        process.regions = []
        self.processes.pop(process.ref.pid, None)

    def free(self, region: FakeRegion, pages: slice) -> None:
        """The process gives pages back."""
        self._unmap(region.folios[pages])
        region.folios[pages] = -1

    def mark(self, region: FakeRegion, pages: slice = slice(None)) -> None:
        """AutoNUMA takes all rights from these pages, to see who touches them."""
        numbers = region.folios[pages]
        self.folios.marked[numbers[numbers >= 0]] = True

    def cpuset(self, path: str, processes: Sequence[FakeProcess]) -> FakeCpuset:
        """Put processes into a cpuset of their own, with the mems of the first."""
        self.cpusets[path] = FakeCpuset(self, processes, processes[0].mems)
        return self.cpusets[path]

    def task(self, processes: Sequence[FakeProcess], cpus: Cpus = frozenset(), cgroup: str = "") -> TaskFacts:
        """The facts of a task of these processes."""
        refs = tuple(process.ref for process in processes)
        mems = processes[0].mems
        return TaskFacts(TaskId("task"), JobId("job"), "fake", refs, len(refs), cpus, mems, 0.0, cgroup)

    def bytes_by_node(self, processes: Iterable[FakeProcess]) -> dict[NodeId, int]:
        """Where the pages of processes are, each counted once: the truth, by another way than the mover's."""
        numbers = {int(n) for p in processes for r in p.regions for n in r.folios if n >= 0}
        found: dict[NodeId, int] = {}
        for n in numbers:
            node = NodeId(int(self.folios.node[n]))
            found[node] = found.get(node, 0) + int(self.folios.size[n])
        return found

    # HostMemory.

    def open(self, process: ProcessRef, owner: int | None = None) -> "FakeProcessMemory":
        """Open a process's memory."""
        found = self.processes.get(process.pid)
        if found is None or found.ref != process:
            raise ProcessGone("pidfd_open", errno.ESRCH, process.pid)
        if found.denied:
            raise Denied("reading maps", errno.EACCES, process.pid)
        memory = FakeProcessMemory(self, found, owner)
        memory.regions()
        return memory

    def map_counts(self, frames: Frames) -> Sizes:
        """How often each frame is mapped."""
        order = np.argsort(self.folios.frame)
        at = np.searchsorted(self.folios.frame, frames, sorter=order)
        counts: Sizes = self.folios.mapped[order[at]]
        return counts

    def tails(self, frames: Frames) -> Mask:
        """None: larger pages are not mapped by base pages here."""
        return np.zeros(len(frames), np.bool_)

    def free_pages(self, node: NodeId) -> int:
        """Free base pages of a node."""
        at = self.nodes[node]
        return at.pages - at.used_pages - at.resident_pages

    def rooms(self, nodes: Collection[NodeId]) -> Mapping[NodeId, Room]:
        """What each node can take."""
        found = {}
        for n in nodes:
            above = max(0, self.free_pages(n) - self.nodes[n].high_pages)
            found[n] = Room(n, above * BASE, self._blocks(n))
        return found

    def _blocks(self, node: NodeId) -> int:
        blocks = self.nodes[node].free_blocks
        return max(0, self.free_pages(node)) // HUGE_PAGES if blocks is None else blocks

    def free_hugetlb_bytes(self, node: NodeId) -> int:
        """Free pages of the node's hugetlb pool."""
        return self.nodes[node].hugetlb_free * HUGE

    def counters(self) -> MigrationCounters:
        """All migrations so far."""
        return self.done

    def felt(self, task: TaskFacts) -> Felt:
        """What the test says that the job feels."""
        now = self.clock.now_s()
        return Felt(now, self.pressure_us(now) if task.cgroup else None, self.delay_ns(now))

    def cpuset_of(self, task: TaskFacts) -> FakeCpuset | None:
        """The task's cpuset."""
        return self.cpusets.get(task.cgroup)

    def kernel_moves_on_mems_write(self, task: TaskFacts) -> bool:
        """Whether this host is of that kind."""
        return self.moves_on_mems_write and task.cgroup in self.cpusets

    def run_on(self, cpus: Cpus) -> None:
        """Threads run anywhere."""

    def own_delay_s(self) -> float:
        """And never wait."""
        return 0.0

    def now_s(self) -> float:
        """The virtual time."""
        return self.clock.now_s()

    def sleep_s(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.clock.advance(seconds)

    # The kernel's side of a move.

    def migrate_all(self, process: FakeProcess, source: NodeId, target: NodeId, *, shared: bool) -> int:
        """Move every page from node to node under the mmap lock; returns how many were not moved."""
        began = self.clock.now_s()
        self.clock.advance(self.quirks.call_s)
        failed = 0
        for region in list(process.regions):
            for number in region.folios[region.folios >= 0].tolist():
                if self.folios.node[number] != source or (self.folios.mapped[number] > 1 and not shared):
                    continue
                failed += not self.put(process, number, target)
        process.lock_held_s = max(process.lock_held_s, self.clock.now_s() - began)
        return failed

    def put(self, process: FakeProcess, number: int, target: NodeId) -> bool:
        """Move one page, which takes its time; False if it is held. Raises TargetFull."""
        huge = self.folios.size[number] > BASE
        self.clock.advance(self.quirks.huge_s if huge else self.quirks.page_s)
        pages = int(self.folios.size[number]) // BASE
        if self.folios.pinned[number]:
            process.tried.append(number)
            self._count(fail=pages, thp_fail=int(huge))
            return False
        split = self._take_room(process, number, target, pages, huge=bool(huge))
        self.nodes[NodeId(int(self.folios.node[number]))].resident_pages -= pages
        self.nodes[target].resident_pages += pages
        self.folios.node[number] = target
        # The new page's table entry is made anew.
        self.folios.marked[number] = False
        self.folios.frame[number] = self.folios.fresh_frames(1)[0]
        self._count(success=pages, thp_success=int(huge and not split), thp_split=int(split))
        return True

    def _take_room(self, process: FakeProcess, number: int, target: NodeId, pages: int, *, huge: bool) -> bool:
        """Find room on the target; returns whether a huge page had to be split for it."""
        node = self.nodes[target]
        full = TargetFull("move_pages", errno.ENOMEM, process.ref.pid)
        if huge and self._is_hugetlb(process, number):
            if node.hugetlb_free == 0:
                raise full
            node.hugetlb_free -= 1
            return False
        if self.free_pages(target) - pages < node.min_pages:
            raise full
        if not huge:
            return False
        split = self._blocks(target) == 0
        if node.free_blocks:
            node.free_blocks -= 1
        return split

    @staticmethod
    def _is_hugetlb(process: FakeProcess, number: int) -> bool:
        return any(region.hugetlb and number in region.folios for region in process.regions)

    def _count(
        self, success: int = 0, fail: int = 0, thp_success: int = 0, thp_fail: int = 0, thp_split: int = 0
    ) -> None:
        done = self.done
        self.done = MigrationCounters(
            done.pgmigrate_success + success,
            done.pgmigrate_fail + fail,
            done.thp_migration_success + thp_success,
            done.thp_migration_fail + thp_fail,
            done.thp_migration_split + thp_split,
        )


class FakeProcessMemory:
    """One process's memory, held open."""

    def __init__(self, host: FakeHost, process: FakeProcess, owner: int | None) -> None:
        self._host, self._process, self._owner = host, process, owner
        self.ref = process.ref

    def alive(self) -> bool:
        """Whether it has not exited."""
        return self._process.alive

    def _check(self, call: str) -> None:
        if not self._process.alive or self._owner not in {None, self._process.uid}:
            raise ProcessGone(call, errno.ESRCH, self.ref.pid)

    def resident_bytes(self) -> int:
        """Its resident size."""
        folios = self._host.folios
        return sum(int(folios.size[r.folios[r.folios >= 0]].sum()) for r in self._process.regions)

    def regions(self) -> Sequence[Region]:
        """Its mappings."""
        self._check("reading maps")
        return [region.region for region in self._process.regions]

    def pages(self, start: int, end: int) -> Pages:
        """The present pages in a range."""
        parts = [self._pages_of(r, start, end) for r in self._process.regions]
        return Pages.joined([part for part in parts if len(part)])

    def _pages_of(self, region: FakeRegion, start: int, end: int) -> Pages:
        first = max(0, (start - region.region.start) // region.page_bytes)
        last = min(len(region.folios), -(-(end - region.region.start) // region.page_bytes))
        if first >= last:
            return Pages.none()
        numbers = region.folios[first:last]
        here = np.flatnonzero(numbers >= 0)
        numbers, folios = numbers[here], self._host.folios
        flags = np.where(folios.mapped[numbers] == 1, PageFlag.EXCLUSIVE, 0).astype(np.uint8)
        flags |= np.where(folios.file[numbers], PageFlag.FILE_OR_SHARED, 0).astype(np.uint8)
        flags |= np.uint8(PageFlag.HUGETLB if region.hugetlb else 0)
        addresses = region.region.start + (here + first) * region.page_bytes
        visible = folios.frame[numbers] if self._host.sees_frames else np.zeros(len(numbers), np.uint64)
        kinds = np.zeros(len(numbers), np.uint8)
        return Pages(addresses.astype(np.uint64), folios.node[numbers], folios.size[numbers], flags, visible, kinds)

    def _number(self, address: int) -> int | None:
        """The page at an address: its number, -1 if it was never touched, None if nothing is mapped."""
        for region in self._process.regions:
            if region.region.start <= address < region.region.end:
                return int(region.folios[(address - region.region.start) // region.page_bytes])
        return None

    def query(self, addresses: Addresses) -> Ints:
        """Where each page is, or a negated errno."""
        self._host.clock.advance(self._host.quirks.query_s * len(addresses))
        self._check("move_pages")
        return np.array([self._state(int(address)) for address in addresses], np.int32)

    def _state(self, address: int) -> int:
        number = self._number(address)
        if number is None:
            return -errno.EFAULT
        if self._hidden(number):
            return -errno.EFAULT if self._host.folios.size[number] > BASE else -errno.ENOENT
        if number < 0:
            return -(errno.EFAULT if number == ZERO else self._host.quirks.absent)
        return int(self._host.folios.node[number])

    def _hidden(self, number: int) -> bool:
        return number >= 0 and self._host.quirks.old and bool(self._host.folios.marked[number])

    def present(self, addresses: Addresses) -> Mask:
        """At which of these addresses there is a page."""
        return np.array([self._number(a) not in {None, UNTOUCHED} for a in addresses.tolist()], np.bool_)

    def reveal(self, addresses: Addresses) -> Mask:
        """Read those that are present, each of which loses its mark."""
        self._check("process_vm_readv")
        numbers = np.array([-1 if (n := self._number(a)) is None else n for a in addresses.tolist()], np.int64)
        present = numbers >= 0
        self._host.folios.marked[numbers[present]] = False
        return present

    def move(self, addresses: Addresses, nodes: Ints, status: Ints, *, move_all: bool) -> int:
        """move_pages(2), as do_pages_move has it: queue, and flush at whatever cannot be queued."""
        self._check("move_pages")
        if move_all and not self._host.may_move_all:
            raise Denied("move_pages", errno.EPERM, self.ref.pid)
        self._host.clock.advance(self._host.quirks.call_s)
        self._host.calls.append(len(addresses))
        queue: list[tuple[int, int]] = []
        for i, address in enumerate(addresses.tolist()):
            target = NodeId(int(nodes[i]))
            refused = self._refusal(target)
            if refused is not None:
                self._flush(queue, nodes, status)
                raise refused
            answer = self._queue(queue, i, address, target, move_all=move_all)
            if answer is None:
                continue
            status[i] = answer
            failed = self._flush(queue, nodes, status)
            if failed:
                return failed + len(addresses) - i - 1
        return self._flush(queue, nodes, status)

    def _refusal(self, target: NodeId) -> KernelCallError | None:
        if target not in self._host.nodes:
            return KernelCallError("move_pages", errno.ENODEV, self.ref.pid)
        if target not in self._process.mems:
            return OutsideCpuset("move_pages", errno.EACCES, self.ref.pid)
        return None

    def _queue(
        self, queue: list[tuple[int, int]], i: int, address: int, target: NodeId, *, move_all: bool
    ) -> int | None:
        """Queue a page, or return the status that it gets instead."""
        number, folios = self._number(address), self._host.folios
        if number is None or number < 0 or self._hidden(number):
            return self._state(address)
        if folios.node[number] == target:
            return int(target)
        if folios.mapped[number] > 1 and not move_all:
            return -errno.EACCES
        if folios.busy[number]:
            folios.busy[number] -= 1
            return -errno.EBUSY
        if any(queued == number for _, queued in queue[-1:]):
            return -errno.EBUSY
        queue.append((i, number))
        return None

    def _flush(self, queue: list[tuple[int, int]], nodes: Ints, status: Ints) -> int:
        """Move what is queued; returns how many failed, and then no status of these pages is written."""
        failed = 0
        for i, number in queue:
            failed += not self._host.put(self._process, number, NodeId(int(nodes[i])))
            self._check("move_pages")
        if not failed:
            for i, _ in queue:
                status[i] = nodes[i]
        queue.clear()
        return failed

    def migrate(self, source: NodeId, target: NodeId) -> int:
        """migrate_pages(2) without CAP_SYS_NICE."""
        self._check("migrate_pages")
        if target not in self._process.mems:
            raise Denied("migrate_pages", errno.EPERM, self.ref.pid)
        return self._host.migrate_all(self._process, source, target, shared=False)

    def policies(self, *, whole: bool) -> Sequence[RegionPolicy]:
        """Policies by region; the first only if that is all that is asked for."""
        found = [
            RegionPolicy(
                r.region.start, r.policy, r.policy_nodes, int(self._host.folios.size[r.folios[r.folios >= 0]].sum())
            )
            for r in self._process.regions
        ]
        return found if whole else found[:1]

    def close(self) -> None:
        """Nothing is held."""
