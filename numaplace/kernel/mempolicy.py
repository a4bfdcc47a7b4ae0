"""Memory policy of the caller itself: the calls that set and ask it.

No system call sets another process's policy: a program calls these for its own threads and mappings. They are also
how a program finds what it runs under: a policy decides where new pages go, wherever the old ones were moved.
"""

import ctypes
from collections.abc import Collection
from typing import NamedTuple

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.policy import (
    BITS_PER_LONG,
    ModeFlag,
    MoveFlag,
    PolicyMode,
    QueryFlag,
    mask_longs,
    max_node,
    node_mask,
    nodes_of_mask,
    split_mode,
)
from numaplace.kernel.syscalls import forbid_event_loop, system_call

# get_mempolicy refuses a mask smaller than the kernel's possible nodes (1024 at most today) and one beyond a page.
_QUERY_LONGS = 4096 // BITS_PER_LONG


class MemoryPolicy(NamedTuple):
    """Where new pages go: a mode, its flags, and the nodes it names."""

    mode: PolicyMode
    flags: ModeFlag
    nodes: frozenset[int]


def set_mempolicy(mode: PolicyMode, nodes: Collection[int] = (), flags: ModeFlag = ModeFlag.NONE) -> None:
    """Set the calling thread's policy for pages it will touch first (set_mempolicy(2)).

    Raises:
        KernelCallError: EINVAL for nodes the mode does not allow, or outside the thread's cpuset, or a mode that this
            kernel does not know.
    """
    mask, maxnode = _mask_of(nodes)
    system_call("set_mempolicy", ctypes.c_int(mode | flags), mask, maxnode)


def mbind(  # noqa: PLR0917 - the order of the kernel's own parameters
    address: int,
    length_bytes: int,
    mode: PolicyMode,
    nodes: Collection[int] = (),
    flags: ModeFlag = ModeFlag.NONE,
    move: MoveFlag = MoveFlag.NONE,
) -> None:
    """Set the policy of a range of the caller's memory, and with `move` bring its pages along (mbind(2)).

    Args:
        address: page-aligned.
        length_bytes: rounded up to pages by the kernel.
        mode: where new pages of the range go.
        nodes: the nodes that the mode names.
        flags: flags of the mode.
        move: MOVE for pages of this process only, MOVE_ALL for shared ones too (CAP_SYS_NICE), STRICT to be told of
            pages that do not conform: then EIO.

    Raises:
        TargetFull: no free page on the nodes.
        KernelCallError: EIO with STRICT, EFAULT for a hole in the range, EINVAL.
        EventLoopBlocked: with a move flag, on an event loop's thread.
    """
    if move & (MoveFlag.MOVE | MoveFlag.MOVE_ALL):
        forbid_event_loop("mbind")
    mask, maxnode = _mask_of(nodes)
    system_call(
        "mbind",
        ctypes.c_ulong(address),
        ctypes.c_ulong(length_bytes),
        ctypes.c_int(mode | flags),
        mask,
        maxnode,
        ctypes.c_uint(move),
    )


def set_mempolicy_home_node(address: int, length_bytes: int, node: int) -> None:
    """Say from which node a BIND or PREFERRED_MANY range is to be filled first (set_mempolicy_home_node(2), 5.17+).

    Raises:
        Unsupported: before 5.17; on kernels that know it also for a range under another mode.
        KernelCallError: EINVAL.
    """
    system_call(
        "set_mempolicy_home_node",
        ctypes.c_ulong(address),
        ctypes.c_ulong(length_bytes),
        ctypes.c_ulong(node),
        ctypes.c_ulong(0),
    )


def get_mempolicy() -> MemoryPolicy:
    """Return the calling thread's policy (get_mempolicy(2)).

    Raises:
        KernelFormatError: a mode that is newer than this code.
    """
    return _policy(0, QueryFlag.NONE)


def policy_at(address: int) -> MemoryPolicy:
    """Return the policy of the caller's mapping at an address.

    Raises:
        KernelCallError: EFAULT if nothing is mapped there.
        KernelFormatError: a mode that is newer than this code.
    """
    return _policy(address, QueryFlag.ADDRESS)


def node_of(address: int) -> int:
    """Return the node of the caller's page at an address, faulting it in if it was never touched.

    Raises:
        KernelCallError: EFAULT if nothing is mapped there.
    """
    return _query(address, QueryFlag.NODE | QueryFlag.ADDRESS)[0]


def mems_allowed() -> frozenset[int]:
    """Return the nodes that the calling thread's cpuset allows."""
    return _query(0, QueryFlag.MEMS_ALLOWED)[1]


def _policy(address: int, flags: QueryFlag) -> MemoryPolicy:
    value, nodes = _query(address, flags)
    try:
        mode, mode_flags = split_mode(value)
    except ValueError as error:
        raise KernelFormatError("get_mempolicy", str(value)) from error
    return MemoryPolicy(mode, mode_flags, nodes)


def _query(address: int, flags: QueryFlag) -> tuple[int, frozenset[int]]:
    value = ctypes.c_int(0)
    mask = node_mask((), _QUERY_LONGS)
    # With NODE the kernel still clears a mask that it is given, so one shape serves every question.
    maxnode = ctypes.c_ulong(max_node(_QUERY_LONGS))
    system_call("get_mempolicy", ctypes.byref(value), mask, maxnode, ctypes.c_ulong(address), ctypes.c_ulong(flags))
    return value.value, nodes_of_mask(mask)


def _mask_of(nodes: Collection[int]) -> tuple[ctypes.Array[ctypes.c_ulong] | None, ctypes.c_ulong]:
    """Return mask and maxnode; no nodes at all is a null mask, which DEFAULT and LOCAL demand."""
    if not nodes:
        return None, ctypes.c_ulong(0)
    longs = mask_longs(nodes)
    return node_mask(nodes, longs), ctypes.c_ulong(max_node(longs))
