"""A job with one kind of memory: `python -m tests.jobs.memory KIND MB`.

Kinds: base, thp, hugetlb, locked, file, shm (a child maps it too), cow (a child has it after fork), pinned (half of it
is registered with io_uring), holes (with a page of zeros and one that was never touched behind it), bound (under
MPOL_BIND to node 0), preferred (by set_mempolicy), interleaved (over all nodes allowed). It says which pids it consists
of, where its memory is, and its checksum. Word: `check` sums it up anew, in every process of it that shares the memory.
"""

import ctypes
import mmap
import os
import struct
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from numaplace.kernel.mempolicy import mbind, mems_allowed, set_mempolicy
from numaplace.kernel.policy import PolicyMode
from tests.jobs.areas import HUGE, MAP_HUGETLB, MB, PAGE, Area, advise, base_area, huge_area, lock, map_area
from tests.jobs.talk import talk

_libc = ctypes.CDLL(None, use_errno=True)
_IO_URING_SETUP, _IO_URING_REGISTER, _REGISTER_BUFFERS = 425, 427, 0
_SETUP_BYTES = 120


def hugetlb_area(size_bytes: int) -> Area:
    """Memory of the hugetlb pool."""
    area = Area(map_area(size_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_HUGETLB), size_bytes)
    area.fill()
    return area


def locked_area(size_bytes: int) -> Area:
    """Memory that is locked."""
    area = base_area(size_bytes)
    lock(area.address, size_bytes)
    return area


def file_area(size_bytes: int) -> Area:
    """A file's page cache, mapped shared."""
    with tempfile.NamedTemporaryFile(dir=Path.home(), prefix="numaplace-job-") as file:
        file.truncate(size_bytes)
        area = Area(map_area(size_bytes, mmap.MAP_SHARED, file.fileno()), size_bytes)
    area.fill()
    return area


def shm_area(size_bytes: int) -> Area:
    """Anonymous shared memory."""
    area = Area(map_area(size_bytes, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS), size_bytes)
    area.fill()
    return area


def pinned_area(size_bytes: int) -> Area:
    """Memory of which the first half is registered with io_uring as a fixed buffer, and so pinned."""
    area = base_area(size_bytes)
    setup = ctypes.create_string_buffer(_SETUP_BYTES)
    ring = _libc.syscall(_IO_URING_SETUP, 1, setup)
    if ring < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    buffers = ctypes.create_string_buffer(struct.pack("QQ", area.address, size_bytes // 2))
    if _libc.syscall(_IO_URING_REGISTER, ring, _REGISTER_BUFFERS, buffers, 1) < 0:
        raise OSError(ctypes.get_errno(), "io_uring_register")
    return area


def area_with_holes(size_bytes: int) -> Area:
    """Base pages, and two more behind them: one that is only read, and one that is never touched."""
    start = map_area(size_bytes + 2 * PAGE)
    advise(start, size_bytes + 2 * PAGE, mmap.MADV_NOHUGEPAGE)
    Area(start + size_bytes, PAGE).checksum()
    area = Area(start, size_bytes)
    area.fill()
    return area


def bound_area(size_bytes: int) -> Area:
    """Memory under MPOL_BIND to node 0."""
    area = Area(map_area(size_bytes), size_bytes)
    advise(area.address, size_bytes, mmap.MADV_NOHUGEPAGE)
    mbind(area.address, size_bytes, PolicyMode.BIND, {0})
    area.fill()
    return area


def preferred_area(size_bytes: int) -> Area:
    """Memory of a task that prefers node 0."""
    set_mempolicy(PolicyMode.PREFERRED, {0})
    return base_area(size_bytes)


def interleaved_area(size_bytes: int) -> Area:
    """Memory that is spread over all nodes on purpose."""
    set_mempolicy(PolicyMode.INTERLEAVE, mems_allowed())
    return base_area(size_bytes)


KINDS: Mapping[str, Callable[[int], Area]] = {
    "base": base_area,
    "thp": huge_area,
    "hugetlb": hugetlb_area,
    "locked": locked_area,
    "file": file_area,
    "shm": shm_area,
    "cow": base_area,
    "pinned": pinned_area,
    "holes": area_with_holes,
    "bound": bound_area,
    "preferred": preferred_area,
    "interleaved": interleaved_area,
}
WITH_A_CHILD = frozenset({"shm", "cow"})


def fork_reader(area: Area) -> tuple[int, Callable[[], int]]:
    """A child that has read all of the area, and sums it up on demand."""
    to_child, to_parent = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(to_child[1])
        while True:
            os.write(to_parent[1], area.checksum().to_bytes(8, "little"))
            if not os.read(to_child[0], 1):
                os._exit(0)
    first = os.read(to_parent[0], 8)

    def check() -> int:
        os.write(to_child[1], b"?")
        return int.from_bytes(os.read(to_parent[0], 8), "little")

    assert int.from_bytes(first, "little") == area.checksum()
    return pid, check


def main(kind: str, mb: int) -> None:
    """Run the job."""
    size_bytes = -(-mb * MB // HUGE) * HUGE
    area = KINDS[kind](size_bytes)
    pids, checks = [os.getpid()], [area.checksum]
    if kind in WITH_A_CHILD:
        pid, check = fork_reader(area)
        pids.append(pid)
        checks.append(check)
    talk(
        {
            "pids": pids,
            "address": area.address,
            "size_bytes": size_bytes,
            "checksums": [check() for check in checks],
        },
        {"check": lambda: {"checksums": [check() for check in checks]}},
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
