"""Reader of /proc/swaps: where pages go that have no room, and how full that is.

Format from mm/swapfile.c (swap_show): a head, then a line for each swap area with its name (escaped), type, sizes in
KiB and priority. A kernel without swap has no such file.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, read_text, unescape

_HEAD = ("Filename", "Type", "Size", "Used", "Priority")
_AREA = re.compile(r"(\S+)\s+(\S+)\s+([0-9]{1,20})\s+([0-9]{1,20})\s+(-?[0-9]{1,10})", re.ASCII)
_KIB = 1024


@dataclass(frozen=True, slots=True)
class SwapArea:
    """One swap area; sizes in bytes."""

    name: str
    size_bytes: int
    used_bytes: int
    priority: int


def parse(text: str, source: str = "swaps") -> tuple[SwapArea, ...]:
    """Parse the content of /proc/swaps; raises KernelFormatError."""
    head, _, rest = text.partition("\n")
    if tuple(head.split()) != _HEAD or (rest and not rest.endswith("\n")):
        raise KernelFormatError(source, text[-80:])
    return tuple(_area(line, source) for line in rest.split("\n")[:-1])


def _area(line: str, source: str) -> SwapArea:
    match = _AREA.fullmatch(line)
    if match is None:
        raise KernelFormatError(source, line)
    return SwapArea(unescape(match[1]), int(match[3]) * _KIB, int(match[4]) * _KIB, int(match[5]))


def read_swaps(root: Path = HOST) -> tuple[SwapArea, ...]:
    """Read the swap areas in use; raises Unsupported on a kernel without swap, KernelFormatError."""
    path = root / "proc/swaps"
    return parse(read_text(path), str(path))
