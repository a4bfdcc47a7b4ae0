"""Memory policy words of the kernel ABI: modes, mode flags, move flags, and node masks.

From include/uapi/linux/mempolicy.h. Shared by the system calls, which take the numbers, and by the numa_maps parser,
which reads the same policies as words.

Node masks are arrays of unsigned long, least significant bit first, and every call but `get_mempolicy` reads one bit
less than the `maxnode` it is given (mm/mempolicy.c, get_nodes): so `maxnode` is always the number of bits plus one.
"""

import ctypes
import enum
from collections.abc import Collection

BITS_PER_LONG = 8 * ctypes.sizeof(ctypes.c_ulong)
NODE_MAX = 65_535
"""Far above any kernel's (MAX_NUMNODES is 1024): a mask is as long as its highest id."""


class PolicyMode(enum.IntEnum):
    """How new pages choose their node."""

    DEFAULT = 0
    PREFERRED = 1
    BIND = 2
    INTERLEAVE = 3
    LOCAL = 4
    PREFERRED_MANY = 5
    WEIGHTED_INTERLEAVE = 6


class ModeFlag(enum.IntFlag):
    """Flags that are or-ed into a mode."""

    NONE = 0
    NUMA_BALANCING = 1 << 13
    RELATIVE_NODES = 1 << 14
    STATIC_NODES = 1 << 15


class MoveFlag(enum.IntFlag):
    """Flags of `mbind` and `move_pages` on pages that exist already."""

    NONE = 0
    STRICT = 1 << 0
    MOVE = 1 << 1
    MOVE_ALL = 1 << 2


class QueryFlag(enum.IntFlag):
    """Flags of `get_mempolicy`."""

    NONE = 0
    NODE = 1 << 0
    ADDRESS = 1 << 1
    MEMS_ALLOWED = 1 << 2


_MODE_FLAGS = ModeFlag.NUMA_BALANCING | ModeFlag.RELATIVE_NODES | ModeFlag.STATIC_NODES


def split_mode(value: int) -> tuple[PolicyMode, ModeFlag]:
    """Split the number that `get_mempolicy` returns into mode and flags.

    Raises:
        ValueError: the mode is one that a newer kernel added.
    """
    flags = ModeFlag(value & _MODE_FLAGS)
    return PolicyMode(value & ~int(_MODE_FLAGS)), flags


def mask_longs(nodes: Collection[int]) -> int:
    """Return how many unsigned longs hold these node ids, one at least.

    Raises:
        ValueError: an id is beyond those of any kernel.
    """
    last = max(nodes, default=0)
    if last > NODE_MAX:
        raise ValueError(f"no kernel has a node {last}")
    return last // BITS_PER_LONG + 1


def max_node(longs: int) -> int:
    """Return the `maxnode` by which the kernel reads all bits of a mask: one more than it has."""
    return longs * BITS_PER_LONG + 1


def node_mask(nodes: Collection[int], longs: int) -> ctypes.Array[ctypes.c_ulong]:
    """Return a kernel node mask of that many unsigned longs, with the bits of these node ids set.

    Raises:
        ValueError: an id is negative.
    """
    mask = (ctypes.c_ulong * longs)()
    for node in nodes:
        if node < 0:
            raise ValueError(f"a node id is not negative: {node}")
        mask[node // BITS_PER_LONG] |= 1 << node % BITS_PER_LONG
    return mask


def nodes_of_mask(mask: ctypes.Array[ctypes.c_ulong]) -> frozenset[int]:
    """Return the node ids whose bits are set in a kernel node mask."""
    return frozenset(
        index * BITS_PER_LONG + bit
        for index, word in enumerate(mask)
        if word
        for bit in range(BITS_PER_LONG)
        if word >> bit & 1
    )
