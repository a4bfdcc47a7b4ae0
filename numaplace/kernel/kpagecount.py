"""/proc/kpagecount: how often a page frame is mapped on the whole host, 8 bytes a frame; for root only.

From fs/proc/page.c: a read past the end of memory is EINVAL or short, and a frame without a page, such as a hole, and
the kernel's page of zeros read as 0.
"""

import array
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from numaplace.kernel.errors import translate_file
from numaplace.kernel.files import HOST
from numaplace.kernel.pagemap import ENTRY_BYTES

_GAP_MAX = 512
"""Frames so close together are read in one go: reading what lies between is cheaper than another system call."""
_RUN_MAX = 1 << 16


def read_map_counts(frames: Iterable[int], root: Path = HOST) -> dict[int, int]:
    """Read how often each of these frames is mapped; 0 for a frame beyond the end of memory.

    Raises:
        Denied: not root.
        Unsupported: the kernel was built without it.
        KernelCallError: any other refusal.
    """
    path = root / "proc/kpagecount"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise translate_file(f"opening {path}", error) from error
    counts: dict[int, int] = {}
    try:
        for run in _runs(sorted(set(frames))):
            start, end = run[0], run[-1] + 1
            found = _read(descriptor, path, start, end)
            counts |= {frame: found[frame - start] if frame - start < len(found) else 0 for frame in run}
    finally:
        os.close(descriptor)
    return counts


def _runs(ascending: list[int]) -> Iterator[list[int]]:
    """Frames that lie close together, in stretches of a bounded length."""
    run: list[int] = []
    for frame in ascending:
        if run and (frame - run[-1] > _GAP_MAX or frame - run[0] >= _RUN_MAX):
            yield run
            run = []
        run.append(frame)
    if run:
        yield run


def _read(descriptor: int, path: Path, start: int, end: int) -> "array.array[int]":
    try:
        data = os.pread(descriptor, (end - start) * ENTRY_BYTES, start * ENTRY_BYTES)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise translate_file(f"reading {path}", error) from error
        data = b""
    return array.array("Q", data[: len(data) // ENTRY_BYTES * ENTRY_BYTES])
