"""From page frames to nodes, and what /proc/kpageflags and /proc/kpagecount say of frames.

A frame's node is looked up in a table by its high bits, two nanoseconds a page; the table's grain is the largest that
all node boundaries share. kpageflags tells truly whether frames form a huge page and kpagecount how often a frame is
mapped on the whole host; both are 8 bytes per frame, for root only, and are read for few frames: the first of an
aligned contiguous block, the pages about to be sent, the pages that are mapped more than once.
"""

import errno
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node_agent.core.pages import UNKNOWN_NODE, Frames, Ints, Mask, Sizes
from numaplace.kernel.errors import translate_file
from numaplace.kernel.files import HOST
from numaplace.kernel.frames import FrameRange
from numaplace.kernel.pagemap import ENTRY_BYTES

KPF_COMPOUND_HEAD = np.uint64(1 << 15)
KPF_COMPOUND_TAIL = np.uint64(1 << 16)
KPF_HUGE = np.uint64(1 << 17)
KPF_THP = np.uint64(1 << 22)

_TABLE_ENTRIES_MAX = 1 << 22
_FOLIO_MIN = 4
"""Frames in the smallest larger page: the page cache has them of 16 KB and more."""
_RUN_GAP_MAX = 512
"""Frames so close together are read in one go: reading what lies between is cheaper than another system call."""


class NodeTable:
    """The node of each frame; UNKNOWN_NODE for frames outside every range."""

    def __init__(self, ranges: Sequence[FrameRange]) -> None:
        bounds = [bound for r in ranges for bound in (r.start, r.end)]
        grain = 0
        while bounds and not any(bound & (1 << grain) for bound in bounds):
            grain += 1
        self._shift = np.uint64(grain)
        entries = (max(bounds, default=0) >> grain) + 1
        self._starts = np.array([r.start for r in ranges], np.uint64)
        self._ends = np.array([r.end for r in ranges], np.uint64)
        self._nodes = np.array([r.node for r in ranges], np.int32)
        self._table: Ints | None = None
        if entries <= _TABLE_ENTRIES_MAX:
            self._table = np.full(entries, UNKNOWN_NODE, np.int32)
            for r in ranges:
                self._table[r.start >> grain : r.end >> grain] = r.node

    def nodes_of(self, frames: Frames) -> Ints:
        """The node of each frame."""
        if self._table is not None:
            nodes: Ints = self._table.take((frames >> self._shift).view(np.int64), mode="clip")
            return nodes
        if not len(self._starts):
            return np.full(len(frames), UNKNOWN_NODE, np.int32)
        at = np.maximum(np.searchsorted(self._starts, frames, side="right") - 1, 0)
        inside = (frames >= self._starts[at]) & (frames < self._ends[at])
        return np.where(inside, self._nodes[at], UNKNOWN_NODE).astype(np.int32)


class FrameFile:
    """kpageflags or kpagecount: a number per frame."""

    def __init__(self, name: str, root: Path = HOST) -> None:
        """Open it; raises Denied or NoSuchFile."""
        try:
            self._descriptor = os.open(root / "proc" / name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise translate_file(f"opening /proc/{name}", error) from error

    def read(self, frames: Frames) -> NDArray[np.uint64]:
        """The number of each frame, in any order; 0 for a frame beyond the end of memory."""
        order = np.argsort(frames, kind="stable")
        ascending = frames[order]
        values = np.zeros(len(frames), np.uint64)
        breaks = np.flatnonzero(np.diff(ascending.view(np.int64)) > _RUN_GAP_MAX) + 1
        bounds = [0, *breaks.tolist(), len(frames)]
        for first, last in pairwise(bounds):
            if first < last:
                values[order[first:last]] = self._read_run(ascending[first:last])
        return values

    def _read_run(self, ascending: Frames) -> NDArray[np.uint64]:
        start, end = int(ascending[0]), int(ascending[-1]) + 1
        try:
            data = os.pread(self._descriptor, (end - start) * ENTRY_BYTES, start * ENTRY_BYTES)
        except OSError as error:
            if error.errno == errno.EINVAL:
                data = b""
            else:
                raise translate_file("reading frames", error) from error
        run = np.zeros(end - start, np.uint64)
        got = np.frombuffer(data[: len(data) // ENTRY_BYTES * ENTRY_BYTES], np.uint64)
        run[: len(got)] = got
        picked: NDArray[np.uint64] = run[(ascending - np.uint64(start)).view(np.int64)]
        return picked

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def tails_of(frames: Frames, flags_file: FrameFile) -> Mask:
    """Which of these frames are inside a larger page, its first one left out.

    Larger pages are runs of neighbouring frames. Of each run of four and more one frame in four is asked: a larger
    page has four at least, and where none of those answers is a tail there is none. Elsewhere the whole is asked.
    """
    tails = np.zeros(len(frames), np.bool_)
    if len(frames) < _FOLIO_MIN:
        return tails
    follows = np.zeros(len(frames), np.bool_)
    follows[1:] = frames[1:] == frames[:-1] + np.uint64(1)
    samples = np.flatnonzero(follows & ((frames & np.uint64(_FOLIO_MIN - 1)) == _FOLIO_MIN - 1))
    if len(samples) and (flags_file.read(frames[samples]) & KPF_COMPOUND_TAIL).any():
        tails[follows] = (flags_file.read(frames[follows]) & KPF_COMPOUND_TAIL) != 0
    return tails


def map_counts_of(frames: Frames, count_file: FrameFile) -> Sizes:
    """How often each frame is mapped on the whole host."""
    return count_file.read(frames).view(np.int64)
