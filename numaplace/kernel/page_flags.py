"""What /proc/kpageflags says of page frames: whether they are parts of a huge page.

One word of 64 bits a frame (Documentation/admin-guide/mm/pagemap.rst); needs CAP_SYS_ADMIN.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from numaplace.kernel.errors import translate_file
from numaplace.kernel.files import HOST

HUGETLB = 1 << 17
THP = 1 << 22
_WORD_BYTES = 8


def huge_frames(frames: Iterable[int], root: Path = HOST) -> frozenset[int]:
    """Return those of the frames that belong to a huge page, transparent or of hugetlbfs.

    Raises:
        NoSuchFile: the kernel was built without.
        Denied: no root.
        KernelCallError: any other refusal.
    """
    path = root / "proc/kpageflags"
    found: set[int] = set()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for frame in frames:
                word = os.pread(descriptor, _WORD_BYTES, frame * _WORD_BYTES)
                if int.from_bytes(word, sys.byteorder) & (THP | HUGETLB):
                    found.add(frame)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise translate_file(f"reading {path}", error) from error
    return frozenset(found)
