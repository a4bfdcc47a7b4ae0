"""Which node a page frame belongs to: what turns a pagemap into residency.

Two sources. /proc/zoneinfo gives one span of frames per zone; spans of different nodes may overlap where firmware
interleaves them (node 0, node 1, node 0 again), and then they say nothing. sysfs memory blocks (128 MB and more each)
are exact unless a block is shared by two nodes. So: zoneinfo if its spans are disjoint, else the blocks, and frames
that neither can attribute are in no range: whoever meets one asks the kernel (`move_pages` without nodes).

Device memory that is not in the kernel's page allocator, and holes, are in no range either.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, parse_int, read_nodes, read_text
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.kernel.zones import Zone, read_zones
from numaplace.model.ids import NodeId

_BLOCK = re.compile(r"memory([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class FrameRange:
    """Page frames `[start, end)` of one node."""

    start: int
    end: int
    node: NodeId


def ranges_of_zones(zones: Iterable[Zone]) -> tuple[FrameRange, ...] | None:
    """Return the frames of every node by the spans of its zones, disjoint and ascending; None if two nodes overlap."""
    spans = sorted(
        FrameRange(zone.start_pfn, zone.start_pfn + zone.spanned, zone.node)
        for zone in zones
        if zone.start_pfn is not None and zone.spanned
    )
    merged: list[FrameRange] = []
    for span in spans:
        last = merged[-1] if merged else None
        if last is None or span.start > last.end or (span.start == last.end and span.node != last.node):
            merged.append(span)
        elif span.node != last.node:
            return None
        else:
            merged[-1] = FrameRange(last.start, max(last.end, span.end), last.node)
    return tuple(merged)


def ranges_of_blocks(blocks: Iterable[tuple[int, NodeId]], block_frames: int) -> tuple[FrameRange, ...]:
    """Return the frames of every node by its memory blocks, given as (block number, node); a shared block is left out.

    Args:
        blocks: each block once for every node it is on.
        block_frames: base pages in a block.
    """
    nodes: dict[int, set[NodeId]] = {}
    for block, node in blocks:
        nodes.setdefault(block, set()).add(node)
    merged: list[FrameRange] = []
    for block in sorted(nodes):
        if len(nodes[block]) > 1:
            continue
        (node,) = nodes[block]
        start = block * block_frames
        if merged and merged[-1].end == start and merged[-1].node == node:
            merged[-1] = FrameRange(merged[-1].start, start + block_frames, node)
        else:
            merged.append(FrameRange(start, start + block_frames, node))
    return tuple(merged)


def read_blocks(root: Path = HOST) -> Iterator[tuple[int, NodeId]]:
    """Read which memory blocks are on which node, as (block number, node).

    Raises:
        Unsupported: the kernel was built without NUMA.
        KernelFormatError: an unexpected list of nodes.
    """
    nodes = root / "sys/devices/system/node"
    for node in sorted(read_nodes(nodes / "online")):
        for entry in sorted(entry.name for entry in (nodes / f"node{node}").iterdir()):
            match = _BLOCK.fullmatch(entry)
            if match is not None:
                yield int(match[1]), node


def read_block_frames(root: Path = HOST, page_bytes: int = PAGE_BYTES) -> int:
    """Read the size of a memory block, in base pages.

    Raises:
        Unsupported: the kernel has no memory blocks (no memory hotplug).
        KernelFormatError: the size is no multiple of a page.
    """
    path = root / "sys/devices/system/memory/block_size_bytes"
    size = parse_int(read_text(path).strip(), str(path), 16)
    if size <= 0 or size % page_bytes:
        raise KernelFormatError(str(path), f"{size:x}")
    return size // page_bytes


def read_frame_ranges(root: Path = HOST, page_bytes: int = PAGE_BYTES) -> tuple[FrameRange, ...]:
    """Read which frames are on which node: disjoint, ascending, frames that cannot be attributed left out.

    Raises:
        Unsupported: the nodes' spans overlap, and this kernel has no memory blocks to tell them apart.
        KernelFormatError: a file has another form.
    """
    ranges = ranges_of_zones(read_zones(root))
    if ranges is None:
        ranges = ranges_of_blocks(read_blocks(root), read_block_frames(root, page_bytes))
    return ranges
