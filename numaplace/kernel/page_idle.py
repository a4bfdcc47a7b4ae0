"""Idle page tracking: mark page frames idle, and see later which were used since.

/sys/kernel/mm/page_idle/bitmap holds one bit a frame, read and written in words of 64
(Documentation/admin-guide/mm/idle_page_tracking.rst); needs CONFIG_IDLE_PAGE_TRACKING and CAP_SYS_ADMIN. A set bit
says idle; writing a zero changes nothing. Only pages on an LRU list are tracked: others never are idle.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from numaplace.kernel.errors import translate_file
from numaplace.kernel.files import HOST

_BITMAP = "sys/kernel/mm/page_idle/bitmap"
_WORD_BYTES = 8
_WORD_BITS = 64


def open_bitmap(root: Path = HOST) -> int:
    """Return a descriptor of the bitmap.

    Raises:
        NoSuchFile: the kernel was built without.
        Denied: no root.
    """
    path = root / _BITMAP
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise translate_file(f"opening {path}", error) from error


def mark(descriptor: int, frames: Iterable[int]) -> None:
    """Mark frames idle; raises KernelCallError."""
    try:
        for word, mask in _by_word(frames).items():
            os.pwrite(descriptor, mask.to_bytes(_WORD_BYTES, sys.byteorder), word * _WORD_BYTES)
    except OSError as error:
        raise translate_file("marking idle pages", error) from error


def still_idle(descriptor: int, frames: Iterable[int]) -> frozenset[int]:
    """Return those of the frames that were not used since they were marked; raises KernelCallError."""
    idle: set[int] = set()
    try:
        for word, mask in _by_word(frames).items():
            bits = int.from_bytes(os.pread(descriptor, _WORD_BYTES, word * _WORD_BYTES), sys.byteorder) & mask
            while bits:
                lowest = bits & -bits
                idle.add(word * _WORD_BITS + lowest.bit_length() - 1)
                bits ^= lowest
    except OSError as error:
        raise translate_file("reading idle pages", error) from error
    return frozenset(idle)


def _by_word(frames: Iterable[int]) -> dict[int, int]:
    masks: dict[int, int] = {}
    for frame in frames:
        word, bit = divmod(frame, _WORD_BITS)
        masks[word] = masks.get(word, 0) | 1 << bit
    return masks
