"""Which pages of a mapping are mapped elsewhere too, from its pagemap entries, and by whom, from /proc/kpagecount.

numa_maps says of most mappings that no page of theirs is mapped twice; only the others are looked at here. Entries are
read in chunks of 128 KB, the kernel lets the mmap lock go between them, and only their highest bytes are looked at: one
byte a page, at the speed of `bytes.translate`. Frame numbers are gathered where they tell something more, by a loop
over pages, so their number is bounded:

- by node, if a mapping that is shared in part lies on several nodes;
- how often each is mapped, if several processes are shown: those may be each other's sharers, and no strangers.
"""

import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from numaplace.kernel.frames import FrameRange
from numaplace.kernel.pagemap import ENTRY_BYTES, EXCLUSIVE, FRAME_MASK, PAGE_BYTES, PRESENT, read_entries_into
from numaplace.model.ids import NodeId
from numaplace.model.picture import MappedPages

CHUNK_PAGES = 1 << 14
FRAMES_MAX = 1 << 20
"""So many shared pages are looked at by frame in one look, 4 GB of them."""

_TOP = ENTRY_BYTES - 1
_ABSENT, _ALONE, _TOGETHER = 0, 1, 2
_CLASSES = bytes(
    _ABSENT if not byte << 56 & PRESENT else _ALONE if byte << 56 & EXCLUSIVE else _TOGETHER for byte in range(256)
)
"""What the highest byte of an entry says of its page."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What one process's mapping shares: its place in the list of all mappings, and its shared frames, if visible."""

    at: int
    frames: "array.array[int]"


def alone_bytes(descriptor: int, start: int, end: int) -> int:
    """How many bytes of `[start, end)` are mapped nowhere else; raises KernelCallError."""
    return PAGE_BYTES * sum(classes.count(_ALONE) for classes, _ in _chunks(descriptor, start, end))


def shared_frames(descriptor: int, start: int, end: int) -> "array.array[int] | None":
    """The frames of the pages of `[start, end)` that are mapped elsewhere too; None if they are not ours to see."""
    frames = array.array("Q")
    for classes, entries in _chunks(descriptor, start, end):
        if _TOGETHER not in classes:
            continue
        numbers = array.array("Q", entries)
        frames.extend(numbers[at] & FRAME_MASK for at in _positions(classes, _TOGETHER))
    return None if any(not frame for frame in frames) else frames


def _chunks(descriptor: int, start: int, end: int) -> Iterator[tuple[bytes, bytearray]]:
    """The classes of pages, a byte each, and their entries."""
    at, last = start // PAGE_BYTES, -(-end // PAGE_BYTES)
    while at < last:
        entries = bytearray(ENTRY_BYTES * min(CHUNK_PAGES, last - at))
        count = read_entries_into(descriptor, at, entries)
        if not count:
            return
        del entries[ENTRY_BYTES * count :]
        # The highest byte of a number is its last one on all but big-endian machines.
        top = _TOP if array.array("H", b"\1\0")[0] == 1 else 0
        yield bytes(entries[top::ENTRY_BYTES].translate(_CLASSES)), entries
        at += count


def _positions(classes: bytes, wanted: int) -> Iterator[int]:
    at = classes.find(wanted)
    while at >= 0:
        yield at
        at = classes.find(wanted, at + 1)


def settled(
    mappings: Sequence[MappedPages],
    shared: Sequence[Shared],
    counts: Mapping[int, int],
    ranges: Sequence[FrameRange],
) -> list[MappedPages]:
    """The mappings with what of their frames strangers map, by node.

    Args:
        mappings: all that are shown, of all processes.
        shared: frames of those that share any; their place is that in ``mappings``.
        counts: how often each frame is mapped on the host; 0 for the page of zeros, which is nobody's.
        ranges: which frames are on which node, ascending.
    """
    ours = Counter(chain.from_iterable(part.frames for part in shared))
    starts = [each.start for each in ranges]
    told = list(mappings)
    for part in shared:
        foreign = Counter(frame for frame in part.frames if counts.get(frame, 0) > ours[frame])
        by_node: dict[NodeId | None, int] = {}
        for frame, times in foreign.items():
            at = bisect_right(starts, frame) - 1
            node = ranges[at].node if at >= 0 and frame < ranges[at].end else None
            by_node[node] = by_node.get(node, 0) + times * PAGE_BYTES
        told[part.at] = _shared(told[part.at], by_node)
    return told


def _shared(mapping: MappedPages, by_node: Mapping[NodeId | None, int]) -> MappedPages:
    """With this found out. Never more than numa_maps has seen: pages come and go between the two."""
    known = {node: min(size, mapping.by_node.get(node, 0)) for node, size in by_node.items() if node is not None}
    nowhere = by_node.get(None, 0)
    return replace(
        mapping,
        shared_bytes=min(mapping.mapped_bytes, sum(known.values()) + nowhere),
        shared_by_node=None if nowhere else known,
        unknown_bytes=0,
    )
