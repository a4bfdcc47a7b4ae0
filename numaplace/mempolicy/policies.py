"""Where new pages go: the policy of the calling thread, of a buffer, and of a block of code.

A policy moves nothing by itself. `mbind` with `Move.OWN` or `Move.ALL` brings the pages along that are there already.
No call sets the policy of another process; for what is running, move its pages (`move_pages`, `numaplace move`).
"""

import enum
import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from numaplace.kernel import mempolicy as calls
from numaplace.kernel.errors import KernelCallError, OutsideCpuset, Unsupported
from numaplace.kernel.mempolicy import MemoryPolicy
from numaplace.kernel.policy import ModeFlag, MoveFlag, PolicyMode
from numaplace.mempolicy.ranges import Placeable, Range, pinned


class Move(enum.Enum):
    """What becomes of the pages that are there already: left, or moved if only this process maps them, or if any do."""

    NONE = MoveFlag.NONE
    OWN = MoveFlag.MOVE
    ALL = MoveFlag.MOVE_ALL


def get_mempolicy(target: Placeable | None = None) -> MemoryPolicy:
    """The policy of the calling thread, or of the mapping in which a buffer begins (get_mempolicy(2)).

    Raises:
        KernelCallError: EFAULT if nothing is mapped there.
        KernelFormatError: a mode that is newer than this library.
    """
    if target is None:
        return calls.get_mempolicy()
    with pinned(target) as found:
        return calls.policy_at(found.start)


def set_mempolicy(mode: PolicyMode, nodes: Collection[int] = (), flags: ModeFlag = ModeFlag.NONE) -> None:
    """Set where the calling thread's new pages go (set_mempolicy(2)); threads it starts later inherit it.

    Raises:
        ValueError: the mode takes no nodes and some are given, or it needs some and none are.
        OutsideCpuset: a node that does not exist, or is outside the thread's cpuset.
        Unsupported: a mode that this kernel does not know (WEIGHTED_INTERLEAVE before 6.9, PREFERRED_MANY before
            5.15), or not with these flags (NUMA_BALANCING goes with BIND only on most).
    """
    _check(mode, nodes, flags)
    with _reason_given("set_mempolicy", nodes, mode, flags):
        calls.set_mempolicy(mode, nodes, flags)


def mbind(
    target: Placeable,
    mode: PolicyMode,
    nodes: Collection[int] = (),
    *,
    flags: ModeFlag = ModeFlag.NONE,
    move: Move = Move.NONE,
    strict: bool = False,
) -> Range:
    """Set where new pages of a buffer go, and bring along those that are there if asked to (mbind(2)).

    Args:
        target: the object; only the pages that it fills alone are bound.
        mode: how they choose their node.
        nodes: the nodes that the mode names.
        flags: flags of the mode.
        move: what becomes of pages that are there already; ALL needs CAP_SYS_NICE.
        strict: be told of pages that lie elsewhere and stay there (MPOL_MF_STRICT). With Move.OWN the kernel skips
            pages that other processes map without a word; `where` tells of them.

    Returns:
        The range that was bound: the buffer's whole pages.

    Raises:
        ValueError: no whole page in the buffer, or nodes that do not fit the mode.
        TargetFull: no free page on the nodes; a part may have moved.
        Denied: Move.ALL without CAP_SYS_NICE.
        OutsideCpuset, Unsupported: as `set_mempolicy`.
        KernelCallError: EIO: strict, and pages lie elsewhere; EFAULT: a hole in the range.
        EventLoopBlocked: it would move pages on an event loop's thread.
    """
    _check(mode, nodes, flags)
    how = move.value | (MoveFlag.STRICT if strict else MoveFlag.NONE)
    with pinned(target) as found:
        bound = found.whole_pages()
        with _reason_given("mbind", nodes, mode, flags):
            calls.mbind(bound.start, bound.length_bytes, mode, nodes, flags, how)
    return bound


def set_mempolicy_home_node(target: Placeable, node: int) -> Range:
    """Say which of its nodes a buffer under BIND or PREFERRED_MANY is filled from first (Linux 5.17).

    Returns:
        The range that it holds for: the buffer's whole pages.

    Raises:
        ValueError: no whole page in the buffer.
        Unsupported: before 5.17, or the buffer is under another mode.
        OutsideCpuset: no such node. KernelCallError: ENOENT, the buffer has no policy of its own; EINVAL.
    """
    with pinned(target) as found:
        whole = found.whole_pages()
        with _reason_given("set_mempolicy_home_node", {node}):
            calls.set_mempolicy_home_node(whole.start, whole.length_bytes, node)
    return whole


@contextmanager
def policy(mode: PolicyMode, nodes: Collection[int] = (), flags: ModeFlag = ModeFlag.NONE) -> Iterator[None]:
    """Have what the calling thread touches first in this block placed so; the earlier policy is back afterwards.

    Raises:
        ValueError, KernelCallError: as `set_mempolicy`.
    """
    before = calls.get_mempolicy()
    set_mempolicy(mode, nodes, flags)
    try:
        yield
    finally:
        calls.set_mempolicy(before.mode, before.nodes, before.flags)


_WORDS = {
    errno.EIO: "pages lie on other nodes and stay there, and strict is to be told of them",
    errno.EFAULT: "there is a hole in the range: nothing is mapped in a part of it",
    errno.ENOENT: "the buffer has no policy of its own: bind it first, with BIND or PREFERRED_MANY",
    errno.EOPNOTSUPP: "the buffer is under neither BIND nor PREFERRED_MANY",
}


@contextmanager
def _reason_given(
    call: str,
    nodes: Collection[int],
    mode: PolicyMode = PolicyMode.DEFAULT,
    flags: ModeFlag = ModeFlag.NONE,
) -> Iterator[None]:
    """The kernel's words with the reason; EINVAL is one word for many."""
    try:
        yield
    except KernelCallError as error:
        number = error.errno or 0
        if number in _WORDS:
            raise type(error)(f"{call}: {_WORDS[number]}", number) from error
        if number != errno.EINVAL:
            raise
        allowed = calls.mems_allowed()
        for known, words in ((ModeFlag.NONE, mode.name), (flags, f"{mode.name} with {flags.name}")):
            if not _is_known(mode, known, allowed):
                raise Unsupported(f"{call}: this kernel does not know {words}", number) from error
        if strange := set(nodes) - allowed:
            about = f"{call}: nodes {sorted(strange)} are not among the {sorted(allowed)} that this thread may use"
            raise OutsideCpuset(about, number) from error
        raise


def _is_known(mode: PolicyMode, flags: ModeFlag, allowed: Collection[int]) -> bool:
    """Whether the kernel takes this mode with these flags: an empty range is looked at no further (do_mbind)."""
    try:
        calls.mbind(0, 0, mode, () if mode in _WITHOUT_NODES else allowed, flags)
    except KernelCallError:
        return False
    return True


_WITHOUT_NODES = frozenset({PolicyMode.DEFAULT, PolicyMode.LOCAL})
_WITH_NODES = frozenset(PolicyMode) - _WITHOUT_NODES - {PolicyMode.PREFERRED}


def _check(mode: PolicyMode, nodes: Collection[int], flags: ModeFlag) -> None:
    if ModeFlag.STATIC_NODES | ModeFlag.RELATIVE_NODES in flags:
        raise ValueError("STATIC_NODES and RELATIVE_NODES exclude each other: nodes are meant by their number, or not")
    if nodes and mode in _WITHOUT_NODES:
        raise ValueError(f"{mode.name} takes no nodes, not {sorted(nodes)}")
    if not nodes and mode in _WITH_NODES:
        raise ValueError(f"{mode.name} needs the nodes that pages may go to")
    if mode is PolicyMode.PREFERRED and len(nodes) > 1:
        raise ValueError(f"PREFERRED takes one node, not {sorted(nodes)}; PREFERRED_MANY takes several")
