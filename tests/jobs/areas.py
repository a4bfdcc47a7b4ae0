"""Areas of memory for test jobs: mapped, advised, filled with a pattern, summed up.

Through ctypes, not the mmap module, because a call by ctypes releases the interpreter's lock: while one thread waits
for a page or for mmap(), the others go on, and each measures its own wait only.
"""

import ctypes
import mmap
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MB = 1 << 20
PAGE = mmap.PAGESIZE
HUGE = 2 * MB
MAP_HUGETLB = 0x40000
MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def map_area(size_bytes: int, flags: int = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, file: int = -1) -> int:
    """Map memory and return its address; raises OSError."""
    address: int | None = _libc.mmap(None, size_bytes, mmap.PROT_READ | mmap.PROT_WRITE, flags, file, 0)
    if address is None or address == MAP_FAILED:
        raise OSError(ctypes.get_errno(), "mmap")
    return address


def unmap_area(address: int, size_bytes: int) -> None:
    """Unmap it; raises OSError."""
    _checked("munmap", _libc.munmap(address, size_bytes))


def advise(address: int, size_bytes: int, advice: int) -> None:
    """madvise(2); raises OSError."""
    _checked("madvise", _libc.madvise(address, size_bytes, advice))


def lock(address: int, size_bytes: int) -> None:
    """mlock(2); raises OSError."""
    _checked("mlock", _libc.mlock(address, size_bytes))


def touch(address: int, value: int) -> None:
    """Write one byte, without the interpreter's lock."""
    ctypes.memset(address, value, 1)


def _checked(call: str, result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), call)


@dataclass(frozen=True, slots=True)
class Area:
    """A stretch of this process's memory."""

    address: int
    size_bytes: int

    def words(self) -> NDArray[np.uint64]:
        """Its content."""
        kind = ctypes.c_uint64 * (self.size_bytes // 8)
        words: NDArray[np.uint64] = np.ctypeslib.as_array(kind.from_address(self.address))
        return words

    def fill(self) -> None:
        """Write a pattern that has no two equal pages."""
        words = self.words()
        np.copyto(words, np.arange(len(words), dtype=np.uint64))
        words *= np.uint64(0x9E3779B97F4A7C15)

    def checksum(self) -> int:
        """A sum of every byte."""
        return zlib.crc32(self.words().view(np.uint8).data)


def base_area(size_bytes: int) -> Area:
    """Anonymous memory in base pages, filled."""
    area = Area(map_area(size_bytes), size_bytes)
    advise(area.address, size_bytes, mmap.MADV_NOHUGEPAGE)
    area.fill()
    return area


def huge_area(size_bytes: int) -> Area:
    """Anonymous memory in transparent huge pages, aligned, filled."""
    start = map_area(size_bytes + HUGE)
    aligned = (start + HUGE - 1) // HUGE * HUGE
    area = Area(aligned, size_bytes)
    advise(aligned, size_bytes, mmap.MADV_HUGEPAGE)
    area.fill()
    return area
