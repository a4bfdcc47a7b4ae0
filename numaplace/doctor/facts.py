"""What the doctor looks at: a host's facts as values. Any of them may have stayed unseen, and then says why.

None stands for what this kernel does not have, `Unseen` for what could not be looked at: these are two things.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias, TypeVar

from numaplace.kernel.status import Privileges
from numaplace.kernel.swaps import SwapArea
from numaplace.kernel.sysfs import HugePool, Khugepaged, NodeSets, ThpSettings
from numaplace.model.ids import NodeId
from numaplace.model.session import Abilities

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unseen:
    """It could not be looked at. ``as_root``: root could."""

    why: str = "nobody looked"
    as_root: bool = False


NOBODY_LOOKED = Unseen()
Seen: TypeAlias = T | Unseen


class Feature(Enum):
    """What is tried, by its stable word."""

    MOVE_PAGES = "move-pages"
    MOVE_ALL = "move-all"
    MIGRATE_PAGES = "migrate-pages"
    SET_MEMPOLICY = "set-mempolicy"
    MBIND = "mbind"
    HOME_NODE = "home-node"
    PREFERRED_MANY = "preferred-many"
    WEIGHTED_INTERLEAVE = "weighted-interleave"
    PAGEMAP_FRAMES = "pagemap-frames"
    PAGEMAP_SCAN = "pagemap-scan"
    SOFT_DIRTY = "soft-dirty"
    USERFAULTFD = "userfaultfd"
    TRACEFS = "tracefs"
    FANOTIFY = "fanotify"
    IDLE_PAGES = "idle-pages"
    DAMON = "damon"


class Answer(Enum):
    """What the kernel said."""

    YES = "yes"
    ABSENT = "absent"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a trial ended; ``why`` are the kernel's words for anything but yes."""

    answer: Answer
    why: str = ""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The host's nodes, their distances by node id, and how much memory each has, in bytes."""

    sets: NodeSets
    distances: Mapping[NodeId, Mapping[NodeId, int]]
    memory_bytes: Mapping[NodeId, int]


@dataclass(frozen=True, slots=True)
class Room:
    """What a node has free: in all, and above its high watermark; its min and high watermarks. All in bytes."""

    free_bytes: int
    min_bytes: int
    high_bytes: int
    above_high_bytes: int


@dataclass(frozen=True, slots=True)
class Cpusets:
    """How cpusets are had: on cgroup v1 or v2, or neither (version 0).

    ``available``: the hierarchy has the controller. ``given_on``: v2, its root hands it to the cgroups below.
    ``memory_migrate``: v1, whether the root's pages move with it.
    """

    version: int
    available: bool = False
    given_on: bool = False
    memory_migrate: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is looked at."""

    machine: str = ""
    known_machine: bool = True
    nodes: Seen[Nodes | None] = NOBODY_LOOKED
    privileges: Seen[Privileges] = NOBODY_LOOKED
    tried: Mapping[Feature, Attempt] = field(default_factory=dict)
    ptrace_scope: Seen[int | None] = NOBODY_LOOKED
    cpusets: Seen[Cpusets] = NOBODY_LOOKED
    numa_balancing: Seen[int | None] = NOBODY_LOOKED
    zone_reclaim: Seen[int | None] = NOBODY_LOOKED
    demotion: Seen[bool | None] = NOBODY_LOOKED
    thp: Seen[ThpSettings | None] = NOBODY_LOOKED
    khugepaged: Seen[Khugepaged | None] = NOBODY_LOOKED
    huge_blocks: Seen[Mapping[NodeId, int]] = NOBODY_LOOKED
    pools: Seen[Mapping[NodeId, tuple[HugePool, ...]]] = NOBODY_LOOKED
    rooms: Seen[Mapping[NodeId, Room]] = NOBODY_LOOKED
    swaps: Seen[tuple[SwapArea, ...]] = NOBODY_LOOKED
    commands: Seen[frozenset[str]] = NOBODY_LOOKED
    agent: Seen[Abilities | None] = NOBODY_LOOKED
