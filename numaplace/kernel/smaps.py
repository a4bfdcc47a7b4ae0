"""Reader of /proc/PID/smaps: how much of each mapping is mapped by transparent huge pages.

Format: proc_pid_smaps(5): a line as in maps, then lines of `Key: value kB`, of which only three are looked at. It walks
the page tables under the mmap lock, as numa_maps does; from Linux 6.7 `pagemap_scan` tells the same for less.
"""

import re
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, read_process_text

_KIB = 1024
_PART_BYTES = 4096
"""What the kernel writes at most before it lets the mmap lock go: some four mappings."""
_HEAD = re.compile(r"([0-9a-f]{1,16})-[0-9a-f]{1,16} [r-]", re.ASCII)
_HUGE = re.compile(r"(?:AnonHugePages|ShmemPmdMapped|FilePmdMapped): +([0-9]{1,20}) kB", re.ASCII)


def parse_huge_bytes(text: str, source: str = "smaps") -> dict[int, int]:
    """Parse the bytes under transparent huge pages by a mapping's start; mappings without any are left out.

    Raises:
        KernelFormatError: a line of another form before the first mapping's, or no whole last line.
    """
    if text and not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    found: dict[int, int] = {}
    start: int | None = None
    for line in text.split("\n")[:-1]:
        head = _HEAD.match(line)
        if head is not None:
            start = int(head[1], 16)
        elif start is None:
            raise KernelFormatError(source, line)
        elif (huge := _HUGE.fullmatch(line)) is not None and int(huge[1]):
            found[start] = found.get(start, 0) + int(huge[1]) * _KIB
    return found


def read_huge_bytes(pid: int, root: Path = HOST) -> dict[int, int]:
    """Read how many bytes of a process's mappings are under transparent huge pages, by a mapping's start.

    Raises:
        ProcessGone: it does not exist (any more).
        Denied: no ptrace access.
        KernelFormatError: see `parse_huge_bytes`.
    """
    return parse_huge_bytes(read_process_text(root, pid, "smaps", _PART_BYTES), f"/proc/{pid}/smaps")
