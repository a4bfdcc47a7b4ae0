"""Where the pages of one process or of many are, mapping by mapping: a picture to look at, and what it adds up to.

Bytes are those of numa_maps: a page that several of the shown processes map counts once in each of them, as it does in
their own files. What could move is said of what is remote, and only as far as it is known:

- A page that is mapped once moves. One that others map too stays for them, and so does what only a device's driver or
  the kernel itself may place.
- A page of the hugetlb pool moves into a free page of the pool at home.
- Where rights are missing, or a mapping's shared pages cannot be told apart by node, the bytes are *unknown*: they are
  neither promised nor written off.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from numaplace.model.ids import Cpus, JobId, NodeId, Nodes, TaskId
from numaplace.model.move import LeftReason

_SEEN_HERE = frozenset({LeftReason.SHARED, LeftReason.UNMOVABLE_MAPPING, LeftReason.HUGETLB_POOL})
"""Reasons that the look itself finds; of all others only an agent that tried knows."""


class MappingKind(Enum):
    """What a mapping is. ANON is private memory without a name; SHARED is shared memory of any make."""

    HEAP = "heap"
    STACK = "stack"
    ANON = "anon"
    FILE = "file"
    SHARED = "shared"
    HUGETLB = "hugetlb"
    DEVICE = "device"
    KERNEL = "kernel"

    @property
    def fixed(self) -> bool:
        """Whether its pages never move."""
        return self in {MappingKind.DEVICE, MappingKind.KERNEL}


@dataclass(frozen=True, slots=True)
class MappedPages:
    """The pages of one mapping, or of several of one name, kind, policy and page size.

    ``thp_bytes``: how much of it is mapped by transparent huge pages, None if that cannot be seen. ``mapped_bytes``:
    all of it, in the word of numa_maps. ``shared_bytes``: what others map too, and ``shared_by_node`` where that is,
    None if it is not known. ``unknown_bytes``: what is mapped more than once by nobody knows whom.
    """

    name: str
    kind: MappingKind
    policy: str
    page_bytes: int
    by_node: Mapping[NodeId, int]
    mappings: int = 1
    processes: int = 1
    anon_bytes: int = 0
    dirty_bytes: int = 0
    active_bytes: int = 0
    swapcache_bytes: int = 0
    writeback_bytes: int = 0
    thp_bytes: int | None = 0
    shared_bytes: int = 0
    shared_by_node: Mapping[NodeId, int] | None = field(default_factory=dict)
    unknown_bytes: int = 0
    deleted: bool = False

    @property
    def mapped_bytes(self) -> int:
        """All resident bytes."""
        return sum(self.by_node.values())

    def remote_bytes(self, home: Nodes) -> int:
        """Resident bytes outside home."""
        return sum(size for node, size in self.by_node.items() if node not in home)

    def shared_remote(self, home: Nodes) -> tuple[int, int]:
        """How many remote bytes others map too: at least, and at most."""
        if self.shared_by_node is not None:
            known = sum(size for node, size in self.shared_by_node.items() if node not in home)
            return known, known
        remote = self.remote_bytes(home)
        return max(0, self.shared_bytes - (self.mapped_bytes - remote)), min(self.shared_bytes, remote)


@dataclass(frozen=True, slots=True)
class Remote:
    """The bytes outside home: those that could move there, those that stay, by reason, and those nobody knows of."""

    bytes: int = 0
    movable_bytes: int = 0
    stays: Mapping[LeftReason, int] = field(default_factory=dict)
    unknown_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ShownProcess:
    """One of the processes shown; ``children`` is None where the kernel does not list them."""

    pid: int
    start_ticks: int
    command: str
    uid: int
    threads: int
    children: int | None
    age_s: float


@dataclass(frozen=True, slots=True)
class ThreadPlace:
    """Where one thread may run, and the nodes near there."""

    pid: int
    tid: int
    name: str
    cpus: Cpus
    nodes: Nodes


@dataclass(frozen=True)
class Picture:
    """A look at one process, or at all processes of a task.

    ``target`` is what was asked for. ``denied`` counts processes that are not the caller's to see. ``free_huge``: free
    pages of the hugetlb pools in bytes, by page size and node. ``stuck``: what the host's agent knows not to move;
    ``task`` and ``job`` are None unless it was there to ask.
    """

    target: str
    processes: tuple[ShownProcess, ...]
    cpus: Cpus
    mems: Nodes
    home: Nodes
    mappings: tuple[MappedPages, ...]
    threads: tuple[ThreadPlace, ...] = ()
    denied: int = 0
    free_huge: Mapping[int, Mapping[NodeId, int]] = field(default_factory=dict)
    stuck: Mapping[LeftReason, int] = field(default_factory=dict)
    task: TaskId | None = None
    job: JobId | None = None

    @cached_property
    def by_node(self) -> Mapping[NodeId, int]:
        """Resident bytes by node."""
        return summed(mapping.by_node for mapping in self.mappings)

    @property
    def resident_bytes(self) -> int:
        """All resident bytes."""
        return sum(self.by_node.values())

    @property
    def locality(self) -> float:
        """Resident bytes at home divided by all of them; 1.0 without any."""
        total = self.resident_bytes
        return 1.0 if total == 0 else 1.0 - self.remote.bytes / total

    @cached_property
    def remote(self) -> Remote:
        """What lies outside home, and what could move."""
        return remote_of(self.mappings, self.home, self.free_huge, self.stuck)

    @property
    def policy(self) -> str:
        """The memory policy that most bytes are under."""
        weights: dict[str, int] = {}
        for mapping in self.mappings:
            weights[mapping.policy] = weights.get(mapping.policy, 0) + mapping.mapped_bytes
        return max(weights, key=lambda policy: weights[policy], default="default")


def summed(parts: Iterable[Mapping[NodeId, int]]) -> dict[NodeId, int]:
    """Bytes by node, added up."""
    total: dict[NodeId, int] = {}
    for part in parts:
        for node, size in part.items():
            total[node] = total.get(node, 0) + size
    return total


def merged(mappings: Iterable[MappedPages]) -> tuple[MappedPages, ...]:
    """One entry for all mappings of a name, kind, policy and page size, the largest first; without those of no pages.

    ``processes`` is added up as well: a caller merges those of one process before it merges processes.
    """
    groups: dict[tuple[object, ...], list[MappedPages]] = {}
    for mapping in mappings:
        if mapping.mapped_bytes:
            key = (mapping.name, mapping.kind, mapping.policy, mapping.page_bytes, mapping.deleted)
            groups.setdefault(key, []).append(mapping)
    joined = (group[0] if len(group) == 1 else _joined(group) for group in groups.values())
    return tuple(sorted(joined, key=lambda mapping: (-mapping.mapped_bytes, mapping.name)))


def _joined(group: list[MappedPages]) -> MappedPages:
    first = group[0]
    thp = [each.thp_bytes for each in group]
    shared = [each.shared_by_node for each in group]
    return MappedPages(
        first.name,
        first.kind,
        first.policy,
        first.page_bytes,
        summed(each.by_node for each in group),
        mappings=sum(each.mappings for each in group),
        processes=sum(each.processes for each in group),
        anon_bytes=sum(each.anon_bytes for each in group),
        dirty_bytes=sum(each.dirty_bytes for each in group),
        active_bytes=sum(each.active_bytes for each in group),
        swapcache_bytes=sum(each.swapcache_bytes for each in group),
        writeback_bytes=sum(each.writeback_bytes for each in group),
        thp_bytes=None if None in thp else sum(each or 0 for each in thp),
        shared_bytes=sum(each.shared_bytes for each in group),
        shared_by_node=None if None in shared else summed(each or {} for each in shared),
        unknown_bytes=sum(each.unknown_bytes for each in group),
        deleted=first.deleted,
    )


def remote_of(
    mappings: Iterable[MappedPages],
    home: Nodes,
    free_huge: Mapping[int, Mapping[NodeId, int]],
    stuck: Mapping[LeftReason, int],
) -> Remote:
    """What could move of all that is remote; see :class:`Picture` for the arguments."""
    total = movable = unknown = 0
    stays: dict[LeftReason, int] = {}
    pools = {size: sum(free.get(node, 0) for node in home) for size, free in free_huge.items()}
    for mapping in mappings:
        remote = mapping.remote_bytes(home)
        total += remote
        if mapping.kind.fixed:
            _stay(stays, LeftReason.UNMOVABLE_MAPPING, remote)
            continue
        least, most = mapping.shared_remote(home)
        unsure = min(remote - least, most - least + mapping.unknown_bytes)
        able = remote - least - unsure
        if mapping.kind is MappingKind.HUGETLB:
            room = pools.get(mapping.page_bytes, 0)
            pools[mapping.page_bytes] = room - min(able, room)
            _stay(stays, LeftReason.HUGETLB_POOL, able - min(able, room))
            able = min(able, room)
        _stay(stays, LeftReason.SHARED, least)
        movable += able
        unknown += unsure
    for reason, size in stuck.items():
        if reason not in _SEEN_HERE:
            held = min(size, movable)
            _stay(stays, reason, held)
            movable -= held
    return Remote(total, movable, stays, unknown)


def _stay(stays: dict[LeftReason, int], reason: LeftReason, size: int) -> None:
    if size:
        stays[reason] = stays.get(reason, 0) + size
