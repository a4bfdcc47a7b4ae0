"""What a node has free now: pages, and free blocks by order. Small files, read before every batch of a move.

`/sys/devices/system/node/nodeN/vmstat` begins with `nr_free_pages` on every kernel since 2.6 (drivers/base/node.c);
`/proc/buddyinfo` has a line per zone with the number of free blocks of each order (mm/vmstat.c, frag_show).
"""

import re
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, parse_int, read_text
from numaplace.model.ids import NodeId

_ZONE = re.compile(r"Node ([0-9]{1,5}), zone +([A-Za-z0-9]+)((?: +[0-9]{1,20})+) *", re.ASCII)


def parse_free_pages(text: str, source: str = "vmstat") -> int:
    """Parse the free base pages from a node's vmstat; raises KernelFormatError."""
    for line in text.splitlines():
        name, blank, number = line.partition(" ")
        if name == "nr_free_pages" and blank:
            return parse_int(number, source)
    raise KernelFormatError(source, text[:80])


def read_free_pages(node: NodeId, root: Path = HOST) -> int:
    """Read how many base pages of a node are free; raises Unsupported for a node that is not online."""
    path = root / f"sys/devices/system/node/node{node}/vmstat"
    return parse_free_pages(read_text(path), str(path))


def parse_free_blocks(text: str, source: str = "buddyinfo") -> dict[NodeId, tuple[int, ...]]:
    """Parse the number of free blocks by order, all zones of a node together; raises KernelFormatError."""
    if not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    blocks: dict[NodeId, tuple[int, ...]] = {}
    for line in text[:-1].split("\n"):
        match = _ZONE.fullmatch(line)
        if match is None:
            raise KernelFormatError(source, line)
        node, counts = NodeId(int(match[1])), tuple(int(word) for word in match[3].split())
        earlier = blocks.get(node, (0,) * len(counts))
        if len(earlier) != len(counts):
            raise KernelFormatError(source, line)
        blocks[node] = tuple(a + b for a, b in zip(earlier, counts, strict=True))
    return blocks


def read_free_blocks(root: Path = HOST) -> dict[NodeId, tuple[int, ...]]:
    """Read the free blocks of every node that has memory, by order; raises KernelFormatError."""
    path = root / "proc/buddyinfo"
    return parse_free_blocks(read_text(path), str(path))


def whole_blocks(counts: tuple[int, ...], order: int) -> int:
    """How many blocks of this order can be taken, larger ones cut up."""
    return sum(count << (at - order) for at, count in enumerate(counts) if at >= order)
