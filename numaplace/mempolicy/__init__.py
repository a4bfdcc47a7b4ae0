"""Where memory lies and where it goes, from Python: libnuma's doors without a compiler, and without their traps.

Works on any object with a buffer (bytearray, mmap, array, NumPy array, tensor on the CPU) and needs neither an agent
nor a scheduler, nor NumPy. Linux on x86-64, aarch64, ppc64le, s390x and riscv64.

- new pages: `set_mempolicy`, `get_mempolicy`, `mbind`, `set_mempolicy_home_node`, and `policy` for a block of code
- pages that are there: `where`, `locate`, `move_buffer`, `move_pages`, `migrate_pages`
- memory of its own: `alloc_onnode`, `alloc_interleaved`, `alloc_local`, `array_onnode`, `array_interleaved`

Lengths are in bytes and nodes by their number. What the kernel refuses raises a `KernelCallError`, an OSError with the
errno; see docs/mempolicy.md for each function beside libnuma's.
"""

from numaplace.kernel.errors import Denied, KernelCallError, OutsideCpuset, ProcessGone, TargetFull, Unsupported
from numaplace.kernel.mempolicy import MemoryPolicy, mems_allowed
from numaplace.kernel.policy import ModeFlag, PolicyMode
from numaplace.kernel.syscalls import EventLoopBlocked
from numaplace.mempolicy.allocating import (
    alloc_interleaved,
    alloc_local,
    alloc_onnode,
    array_interleaved,
    array_onnode,
)
from numaplace.mempolicy.moving import (
    Moved,
    MoveStoppedError,
    Where,
    locate,
    migrate_pages,
    move_buffer,
    move_pages,
    where,
)
from numaplace.mempolicy.policies import Move, get_mempolicy, mbind, policy, set_mempolicy, set_mempolicy_home_node
from numaplace.mempolicy.ranges import Placeable, Range

__all__ = [
    "Denied",
    "EventLoopBlocked",
    "KernelCallError",
    "MemoryPolicy",
    "ModeFlag",
    "Move",
    "MoveStoppedError",
    "Moved",
    "OutsideCpuset",
    "Placeable",
    "PolicyMode",
    "ProcessGone",
    "Range",
    "TargetFull",
    "Unsupported",
    "Where",
    "alloc_interleaved",
    "alloc_local",
    "alloc_onnode",
    "array_interleaved",
    "array_onnode",
    "get_mempolicy",
    "locate",
    "mbind",
    "mems_allowed",
    "migrate_pages",
    "move_buffer",
    "move_pages",
    "policy",
    "set_mempolicy",
    "set_mempolicy_home_node",
    "where",
]
