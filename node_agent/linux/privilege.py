"""Which capabilities this thread has in effect, and laying down CAP_SYS_NICE for one call of one thread.

With that capability `migrate_pages` silently means MOVE_ALL: the pages of libc, shared memory and other jobs go along,
and pages leave the process's cpuset. Without it the same call moves only what the process alone maps, within its
cpuset: exactly what a mover may do. Capabilities belong to threads, so no other thread notices (capabilities(7)).
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from numaplace.kernel.errors import translate
from numaplace.kernel.status import Capability
from numaplace.kernel.syscalls import libc_function

_VERSION_3 = 0x2008_0522
CAP_SYS_PTRACE = int(Capability.SYS_PTRACE)
CAP_SYS_NICE = int(Capability.SYS_NICE)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _call(name: str, data: "ctypes.Array[_Data]") -> None:
    if libc_function(name)(ctypes.byref(_Header(_VERSION_3, 0)), data) != 0:
        raise translate(name, ctypes.get_errno())


def has_capability(number: int) -> bool:
    """Whether the calling thread has it in effect; ``number`` as in linux/capability.h, below 32."""
    data = (_Data * 2)()
    _call("capget", data)
    return bool(data[0].effective & (1 << number))


@contextmanager
def without_nice() -> Iterator[None]:
    """Run the block without CAP_SYS_NICE in effect on this thread."""
    data = (_Data * 2)()
    _call("capget", data)
    had = data[0].effective
    data[0].effective = had & ~(1 << CAP_SYS_NICE)
    _call("capset", data)
    try:
        yield
    finally:
        data[0].effective = had
        _call("capset", data)
