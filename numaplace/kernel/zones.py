"""Reader of /proc/zoneinfo: free pages and watermarks of every zone, and which frames it spans.

Format from mm/vmstat.c (zoneinfo_show_print). A zone begins with `Node N, zone NAME`; indented `key value` lines
follow, of which newer kernels add some (`boost`, `promo`, `cma`): those read here must be there, others are passed
over. A zone without pages ends early: it has no start. Only populated zones have frames.

Watermarks: the kernel reclaims in the background below `low` until `high`, and below `min` only the kernel itself may
allocate. A mover's own headroom begins above `high`, or it makes the target reclaim other jobs' page cache.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, read_text
from numaplace.model.ids import NodeId

_HEAD = re.compile(r"Node ([0-9]{1,5}), zone +([A-Za-z0-9]+)", re.ASCII)
# Without a colon: `high:` is another thing than `high`, a CPU's page set.
_PAIR = re.compile(r" +(?:pages )?([a-z_]+) +([0-9]{1,20})", re.ASCII)
_START = re.compile(r" +(start_pfn): +([0-9]{1,20})", re.ASCII)
_WANTED = ("free", "min", "low", "high", "spanned", "present", "managed")


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone of one node; all counts in base pages. `start_pfn` is None for a zone without pages."""

    node: NodeId
    name: str
    free: int
    min: int
    low: int
    high: int
    spanned: int
    present: int
    managed: int
    start_pfn: int | None

    @property
    def headroom(self) -> int:
        """Free pages above the high watermark."""
        return max(0, self.free - self.high)


def parse(text: str, source: str = "zoneinfo") -> tuple[Zone, ...]:
    """Parse the content of /proc/zoneinfo.

    Raises:
        KernelFormatError: a line of another form, a value missing from a zone, or a zone of zoneinfo cut off.
    """
    if not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    zones = tuple(_zone(node, name, lines, source) for node, name, lines in _sections(text, source))
    if not zones:
        raise KernelFormatError(source, text)
    return zones


def _sections(text: str, source: str) -> Iterator[tuple[NodeId, str, list[str]]]:
    heads = [*re.finditer(r"^Node .*$", text, re.MULTILINE)]
    if not heads or heads[0].start():
        raise KernelFormatError(source, text)
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for head, end in zip(heads, ends, strict=True):
        match = _HEAD.fullmatch(head[0])
        if match is None:
            raise KernelFormatError(source, head[0])
        yield NodeId(int(match[1])), match[2], text[head.end() : end].splitlines()


def _zone(node: NodeId, name: str, lines: list[str], source: str) -> Zone:
    values: dict[str, int] = {}
    for line in lines:
        if line and line[0] != " ":
            raise KernelFormatError(source, line)
        pair = _PAIR.fullmatch(line) or _START.fullmatch(line)
        if pair is not None:
            values.setdefault(pair[1], int(pair[2]))
    missing = [key for key in _WANTED if key not in values]
    start = values.get("start_pfn")
    if missing or (values["present"] and start is None):
        raise KernelFormatError(source, f"Node {node}, zone {name} without {missing or 'start_pfn'}")
    counts = {key: values[key] for key in _WANTED}
    return Zone(node=node, name=name, start_pfn=start if values["present"] else None, **counts)


def read_zones(root: Path = HOST) -> tuple[Zone, ...]:
    """Read all zones of the host; raises KernelFormatError, and KernelCallError if /proc is not there."""
    path = root / "proc/zoneinfo"
    return parse(read_text(path), str(path))


def headroom_pages(zones: Iterable[Zone], node: NodeId) -> int:
    """Return how many base pages a node can take before any of its zones falls to its high watermark."""
    return sum(zone.headroom for zone in zones if zone.node == node)
