"""Memory on a node of choice: as a buffer, or as a NumPy array on top of one.

The pages are bound before they are touched, so nothing has to be moved. What is returned is an anonymous mapping of its
own: it is zeroed, begins at a page's edge, and goes back to the system when the last object on top of it is gone.
"""

import math
import mmap
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from numaplace.kernel.policy import PolicyMode
from numaplace.mempolicy.policies import mbind

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


def alloc_onnode(length_bytes: int, node: int, *, strict: bool = True) -> mmap.mmap:
    """A zeroed buffer on one node.

    Args:
        length_bytes: its length, rounded up to whole pages.
        node: the node.
        strict: the node and no other; if it is full, touching the buffer gets the process killed for want of memory.
            Else another node is taken then.

    Raises:
        ValueError: the length is not positive.
        OutsideCpuset: no such node, or outside the cpuset. OSError: no such amount of address space.
    """
    return _alloc(length_bytes, PolicyMode.BIND if strict else PolicyMode.PREFERRED, {node})


def alloc_interleaved(length_bytes: int, nodes: Collection[int], *, weighted: bool = False) -> mmap.mmap:
    """A zeroed buffer whose pages go to these nodes by turns; ``weighted``: by the host's weights (Linux 6.9).

    Raises:
        As `alloc_onnode`.
    """
    return _alloc(length_bytes, PolicyMode.WEIGHTED_INTERLEAVE if weighted else PolicyMode.INTERLEAVE, nodes)


def alloc_local(length_bytes: int) -> mmap.mmap:
    """A zeroed buffer whose pages go to the node of whoever touches them first, whatever the thread's policy.

    Raises:
        ValueError: the length is not positive. OSError: no such amount of address space.
    """
    return _alloc(length_bytes, PolicyMode.LOCAL, ())


def array_onnode(
    shape: int | Sequence[int], node: int, dtype: "DTypeLike" = float, *, strict: bool = True
) -> "NDArray[Any]":
    """A NumPy array of zeros on one node; raises as `alloc_onnode`, and ImportError without NumPy."""
    return _array(shape, dtype, PolicyMode.BIND if strict else PolicyMode.PREFERRED, {node})


def array_interleaved(
    shape: int | Sequence[int], nodes: Collection[int], dtype: "DTypeLike" = float, *, weighted: bool = False
) -> "NDArray[Any]":
    """A NumPy array of zeros spread over nodes; raises as `alloc_onnode`, and ImportError without NumPy."""
    return _array(shape, dtype, PolicyMode.WEIGHTED_INTERLEAVE if weighted else PolicyMode.INTERLEAVE, nodes)


def _alloc(length_bytes: int, mode: PolicyMode, nodes: Collection[int]) -> mmap.mmap:
    if length_bytes <= 0:
        raise ValueError(f"a buffer has at least one byte, not {length_bytes}")
    whole = -(-length_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
    area = mmap.mmap(-1, whole, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        mbind(area, mode, nodes)
    except BaseException:
        area.close()
        raise
    return area


def _array(shape: int | Sequence[int], dtype: "DTypeLike", mode: PolicyMode, nodes: Collection[int]) -> "NDArray[Any]":
    import numpy as np  # noqa: PLC0415 - who needs no arrays needs no NumPy

    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ValueError(f"an array of {kind} holds references, and the objects themselves lie elsewhere")
    count = shape if isinstance(shape, int) else math.prod(shape)
    if count == 0:
        return np.zeros(shape, kind)
    area = _alloc(count * kind.itemsize, mode, nodes)
    return np.frombuffer(area, kind, count).reshape(shape)
