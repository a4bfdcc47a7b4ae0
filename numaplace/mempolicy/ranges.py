"""Where an object's memory lies: the addresses behind anything that has a buffer, and the whole pages among them.

Placement works on whole pages, and few objects begin and end at a page's edge. The page at an edge holds other
objects too: so what is placed are the pages that an object fills alone, and an object that fills none is refused.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import PAGESIZE as PAGE_BYTES
from typing import Any, NamedTuple, Protocol

from numaplace.kernel.syscalls import WritableBuffer

_ANY_CONTIGUOUS = 0x98
"""PyBUF_ANY_CONTIGUOUS | PyBUF_STRIDES of the C API: in C or Fortran order, read-only too."""


class _View(ctypes.Structure):
    """Py_buffer of the C API, which is stable from Python 3.11 on."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


class Range(NamedTuple):
    """``length_bytes`` of the caller's address space from ``start``."""

    start: int
    length_bytes: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.length_bytes

    def whole_pages(self) -> "Range":
        """The pages that lie in it from end to end.

        Raises:
            ValueError: there is none.
        """
        start = -(-self.start // PAGE_BYTES) * PAGE_BYTES
        end = self.end // PAGE_BYTES * PAGE_BYTES
        if end <= start:
            raise ValueError(
                f"{self.length_bytes} bytes at {self.start:#x} fill no page of {PAGE_BYTES} bytes: what shares pages"
                " with other objects cannot be placed alone; allocate it with mempolicy.alloc_onnode"
            )
        return Range(start, end - start)

    def touched_pages(self) -> "Range":
        """All pages that any of it lies in; empty for an empty one."""
        start = self.start // PAGE_BYTES * PAGE_BYTES
        end = -(-self.end // PAGE_BYTES) * PAGE_BYTES if self.length_bytes else start
        return Range(start, end - start)


class ArrayLike(Protocol):
    """A NumPy array, which has a buffer too; on Python 3.11 its type stubs do not say so."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


Placeable = WritableBuffer | bytes | memoryview | ArrayLike | Range
"""An object with a buffer (array, bytearray, mmap, NumPy array, tensor on the CPU, …), or a range by its address."""


@contextmanager
def pinned(target: Placeable) -> Iterator[Range]:
    """The range of an object, which cannot be resized or freed while the block runs.

    Raises:
        TypeError: it has no buffer.
        ValueError: its items do not lie side by side.
    """
    if isinstance(target, Range):
        yield target
        return
    view = _View()
    get, release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
    try:
        get(ctypes.py_object(target), ctypes.byref(view), ctypes.c_int(_ANY_CONTIGUOUS))
    except (BufferError, ValueError) as error:
        raise ValueError(
            f"its items do not lie side by side in memory ({error}): place the array it is a part of"
        ) from error
    try:
        yield Range(view.buf or 0, view.len)
    finally:
        release(ctypes.byref(view))
