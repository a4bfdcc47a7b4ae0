"""The host's nodes, CPUs, distances and memory settings, from sysfs and /proc/sys.

Node ids may have gaps, nodes may have no CPUs (CXL, HBM) or no memory. The `distance` file of a node is a row of
numbers without ids: the n-th belongs to the n-th *online* node (drivers/base/node.c, node_read_distance), so it is
returned by node id, never by position. Formats: Documentation/ABI/{stable,testing}/sysfs-devices-node.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, parse_int, read_cpus, read_int, read_nodes, read_text
from numaplace.model.ids import Cpus, NodeId, Nodes

_KIB = 1024
_NODES = "sys/devices/system/node"
_CPUS = "sys/devices/system/cpu"
_THP = "sys/kernel/mm/transparent_hugepage"
_POOL = re.compile(r"hugepages-([0-9]{1,12})kB", re.ASCII)
_MEMINFO = re.compile(r"Node ([0-9]{1,5}) ([^:]+): +([0-9]{1,20})( kB)?", re.ASCII)
_SWITCH = {"0": False, "1": True, "false": False, "true": True}
_SYSCTL = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class NodeSets:
    """Which nodes can be, are, have CPUs, and have memory."""

    possible: Nodes
    online: Nodes
    with_cpus: Nodes
    with_memory: Nodes


@dataclass(frozen=True, slots=True)
class NodeMemory:
    """A node's memory, in bytes, by the words of its meminfo."""

    total: int
    free: int
    file_pages: int
    anon_pages: int
    shmem: int
    unevictable: int


@dataclass(frozen=True, slots=True)
class HugePool:
    """A node's pool of hugetlb pages of one size; counts in such pages."""

    page_bytes: int
    total: int
    free: int
    surplus: int


@dataclass(frozen=True, slots=True)
class ThpSettings:
    """Transparent huge pages: the chosen words of `enabled` and `defrag`, and the size of one."""

    enabled: str
    defrag: str
    page_bytes: int


@dataclass(frozen=True, slots=True)
class Khugepaged:
    """The thread that makes huge pages of small ones: whether it compacts for them, how many pages it looks at a go."""

    defrag: bool
    pages_to_scan: int
    sleep_ms: int


def read_node_sets(root: Path = HOST) -> NodeSets:
    """Read the sets of nodes.

    Raises:
        Unsupported: the kernel was built without NUMA.
        KernelFormatError: a list of another form.
    """
    nodes = root / _NODES
    return NodeSets(*(read_nodes(nodes / name) for name in ("possible", "online", "has_cpu", "has_memory")))


def read_node_cpus(node: NodeId, root: Path = HOST) -> Cpus:
    """Read the online CPUs of a node, none for a memory-only one; raises as `read_node_sets`."""
    return read_cpus(root / _NODES / f"node{node}/cpulist")


def read_online_cpus(root: Path = HOST) -> Cpus:
    """Read the online CPUs of the host; raises as `read_node_sets`."""
    return read_cpus(root / _CPUS / "online")


def parse_distances(text: str, online: Nodes, source: str = "distance") -> dict[NodeId, int]:
    """Parse a node's distance row into distances by node id; raises KernelFormatError, also for another length."""
    row = [parse_int(field, source) for field in text.split()]
    if len(row) != len(online) or any(distance < 0 for distance in row):
        raise KernelFormatError(source, text)
    return dict(zip(sorted(online), row, strict=True))


def read_distances(root: Path = HOST) -> dict[NodeId, dict[NodeId, int]]:
    """Read the distances from every online node to every other, in SLIT units, by node id; they may be asymmetric.

    Raises:
        Unsupported: the kernel was built without NUMA.
        KernelFormatError: a row of another form or length.
    """
    nodes = root / _NODES
    online = read_nodes(nodes / "online")
    paths = {node: nodes / f"node{node}/distance" for node in sorted(online)}
    return {node: parse_distances(read_text(path), online, str(path)) for node, path in paths.items()}


def parse_node_meminfo(text: str, source: str = "meminfo") -> dict[str, int]:
    """Parse a node's meminfo into bytes (counts for the HugePages_ keys); raises KernelFormatError."""
    if not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    values: dict[str, int] = {}
    for line in text[:-1].split("\n"):
        match = _MEMINFO.fullmatch(line)
        if match is None or match[2] in values:
            raise KernelFormatError(source, line)
        values[match[2]] = int(match[3]) * (_KIB if match[4] else 1)
    return values


def read_node_memory(node: NodeId, root: Path = HOST) -> NodeMemory:
    """Read a node's memory; all zeros for a node without.

    Raises:
        Unsupported: no such node.
        KernelFormatError: a line of another form, or a key missing.
    """
    path = root / _NODES / f"node{node}/meminfo"
    values = parse_node_meminfo(read_text(path), str(path))
    keys = ("MemTotal", "MemFree", "FilePages", "AnonPages", "Shmem", "Unevictable")
    missing = [key for key in keys if key not in values]
    if missing:
        raise KernelFormatError(str(path), f"no {', '.join(missing)}")
    return NodeMemory(*(values[key] for key in keys))


def read_huge_pools(node: NodeId, root: Path = HOST) -> tuple[HugePool, ...]:
    """Read a node's hugetlb pools, ascending by page size; none for a node without memory or a kernel without hugetlb.

    Raises:
        KernelFormatError: a file of another form.
    """
    pools = root / _NODES / f"node{node}/hugepages"
    if not pools.is_dir():
        return ()
    sizes = sorted(int(match[1]) for entry in pools.iterdir() if (match := _POOL.fullmatch(entry.name)))
    return tuple(_pool(pools / f"hugepages-{size}kB", size * _KIB) for size in sizes)


def _pool(pool: Path, page_bytes: int) -> HugePool:
    names = ("nr_hugepages", "free_hugepages", "surplus_hugepages")
    return HugePool(page_bytes, *(read_int(pool / name) for name in names))


def chosen_word(text: str, source: str) -> str:
    """Return the word in brackets of a setting that lists all it could be: `always [madvise] never`."""
    chosen = [word[1:-1] for word in text.split() if word.startswith("[") and word.endswith("]")]
    if len(chosen) != 1 or not chosen[0]:
        raise KernelFormatError(source, text)
    return chosen[0]


def read_thp(root: Path = HOST) -> ThpSettings:
    """Read how transparent huge pages are set.

    Raises:
        Unsupported: the kernel was built without them.
        KernelFormatError: a file of another form.
    """
    thp = root / _THP
    enabled, defrag = (chosen_word(read_text(thp / name), str(thp / name)) for name in ("enabled", "defrag"))
    return ThpSettings(enabled, defrag, read_int(thp / "hpage_pmd_size"))


def read_khugepaged(root: Path = HOST) -> Khugepaged:
    """Read how khugepaged is set; raises as `read_thp`."""
    own = root / _THP / "khugepaged"
    names = ("pages_to_scan", "scan_sleep_millisecs")
    return Khugepaged(_switch(own / "defrag"), *(read_int(own / name) for name in names))


def read_demotion(root: Path = HOST) -> bool:
    """Read whether reclaim moves pages to slower nodes instead of swapping them.

    Raises:
        Unsupported: this kernel does not know that, or has no slower nodes.
        KernelFormatError: neither true nor false.
    """
    return _switch(root / "sys/kernel/mm/numa/demotion_enabled")


def _switch(path: Path) -> bool:
    word = read_text(path).strip()
    try:
        return _SWITCH[word]
    except KeyError as error:
        raise KernelFormatError(str(path), word) from error


def read_sysctl(name: str, root: Path = HOST) -> int:
    """Read a number below /proc/sys, such as `kernel/numa_balancing` or `vm/zone_reclaim_mode`.

    Raises:
        Unsupported: this kernel has no such setting.
        KernelFormatError: it is no number.
    """
    if not _SYSCTL.fullmatch(name):
        raise ValueError(f"not a path below /proc/sys: {name!r}")
    return read_int(root / "proc/sys" / name)
