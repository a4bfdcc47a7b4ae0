"""Looking at a host: each fact by a small reader of its own, whose failure is that fact's answer and nobody else's."""

import os
import platform
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from numaplace.doctor.facts import Attempt, Cpusets, Facts, Feature, Nodes, Room, Seen, Unseen
from numaplace.kernel import free, sysfs, zones
from numaplace.kernel.arch import UnsupportedArchitecture, numbers_of
from numaplace.kernel.cgroups import read_controllers, read_given_on, read_hierarchies, top
from numaplace.kernel.cpusets import read_memory_migrate
from numaplace.kernel.errors import Denied, KernelCallError, KernelFormatError, ProcessGone, Unsupported
from numaplace.kernel.files import HOST
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.kernel.procfs import list_pids
from numaplace.kernel.status import read_command, read_privileges
from numaplace.kernel.swaps import SwapArea, read_swaps
from numaplace.kernel.sysfs import HugePool
from numaplace.model.ids import NodeId
from numaplace.model.session import Abilities

T = TypeVar("T")


def look(tried: Mapping[Feature, Attempt], agent: Seen[Abilities | None], root: Path = HOST) -> Facts:
    """Look at the host whose files are below ``root``; never fails.

    Args:
        tried: what was tried on this kernel (`trying.try_all`).
        agent: what the host's agent says of itself; None if there is none.
        root: the host's files.
    """
    machine = platform.machine()
    return Facts(
        machine=machine,
        known_machine=_is_known(machine),
        nodes=_seen(lambda: _or_none(lambda: _nodes(root))),
        privileges=_seen(lambda: read_privileges(os.getpid(), root)),
        tried=tried,
        ptrace_scope=_sysctl("kernel/yama/ptrace_scope", root),
        cpusets=_seen(lambda: _cpusets(root)),
        numa_balancing=_sysctl("kernel/numa_balancing", root),
        zone_reclaim=_sysctl("vm/zone_reclaim_mode", root),
        demotion=_seen(lambda: _or_none(lambda: sysfs.read_demotion(root))),
        thp=_seen(lambda: _or_none(lambda: sysfs.read_thp(root))),
        khugepaged=_seen(lambda: _or_none(lambda: sysfs.read_khugepaged(root))),
        huge_blocks=_seen(lambda: _huge_blocks(root)),
        pools=_seen(lambda: _pools(root)),
        rooms=_seen(lambda: _rooms(root)),
        swaps=_seen(lambda: _swaps(root)),
        commands=_seen(lambda: _commands(root)),
        agent=agent,
    )


def _seen(read: Callable[[], T]) -> Seen[T]:
    try:
        return read()
    except Denied as error:
        return Unseen(str(error.strerror), as_root=os.geteuid() != 0)
    except KernelCallError as error:
        return Unseen(str(error.strerror))
    except (KernelFormatError, OSError) as error:
        return Unseen(str(error))


def _or_none(read: Callable[[], T]) -> T | None:
    """What this kernel has, None if it does not have it."""
    try:
        return read()
    except Unsupported:
        return None


def _sysctl(name: str, root: Path) -> Seen[int | None]:
    return _seen(lambda: _or_none(lambda: sysfs.read_sysctl(name, root)))


def _is_known(machine: str) -> bool:
    try:
        numbers_of(machine, struct.calcsize("P"))
    except UnsupportedArchitecture:
        return False
    return True


def _nodes(root: Path) -> Nodes:
    sets = sysfs.read_node_sets(root)
    memory = {node: sysfs.read_node_memory(node, root).total for node in sets.with_memory}
    return Nodes(sets, sysfs.read_distances(root), memory)


def _with_memory(root: Path) -> list[NodeId]:
    return sorted(sysfs.read_node_sets(root).with_memory)


def _huge_blocks(root: Path) -> dict[NodeId, int]:
    """Free blocks of the size of a transparent huge page, by node."""
    order = (sysfs.read_thp(root).page_bytes // PAGE_BYTES).bit_length() - 1
    return {node: free.whole_blocks(counts, order) for node, counts in free.read_free_blocks(root).items()}


def _pools(root: Path) -> dict[NodeId, tuple[HugePool, ...]]:
    return {node: sysfs.read_huge_pools(node, root) for node in _with_memory(root)}


def _rooms(root: Path) -> dict[NodeId, Room]:
    found = zones.read_zones(root)
    nodes = sorted({zone.node for zone in found if zone.managed})
    return {
        node: Room(
            free_bytes=PAGE_BYTES * sum(zone.free for zone in found if zone.node == node),
            min_bytes=PAGE_BYTES * sum(zone.min for zone in found if zone.node == node),
            high_bytes=PAGE_BYTES * sum(zone.high for zone in found if zone.node == node),
            above_high_bytes=PAGE_BYTES * zones.headroom_pages(found, node),
        )
        for node in nodes
    }


def _swaps(root: Path) -> tuple[SwapArea, ...]:
    return _or_none(lambda: read_swaps(root)) or ()


def _commands(root: Path) -> frozenset[str]:
    found = set()
    for pid in list_pids(root):
        try:
            found.add(read_command(pid, root))
        except (ProcessGone, Unsupported):
            continue  # it has ended since the listing
    return frozenset(found)


def _cpusets(root: Path) -> Cpusets:
    mount = read_hierarchies(root).of_controller("cpuset")
    if mount is None:
        return Cpusets(0)
    root_group = top(mount)
    if mount.version == 1:
        return Cpusets(1, available=True, memory_migrate=read_memory_migrate(root_group))
    available, given_on = ("cpuset" in read(root_group) for read in (read_controllers, read_given_on))
    return Cpusets(2, available=available, given_on=given_on)
