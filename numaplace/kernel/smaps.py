"""Readers of /proc/PID/smaps and smaps_rollup: sizes by kind, and the flags that say whether a mapping can move.

Format: proc_pid_smaps(5). `smaps` costs a walk of all page tables, so it is read once per task for its flags, and the
rollup (16 ns a page) for totals. Newer kernels add keys: those read here must be there, others are passed over.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, read_process_text
from numaplace.kernel.maps import Mapping
from numaplace.kernel.maps import parse_line as parse_mapping

_KIB = 1024
_SIZE = re.compile(r"([A-Za-z_]+): +([0-9]{1,20}) kB", re.ASCII)
_OTHER = re.compile(r"[A-Za-z_]+:.*", re.ASCII)
_FLAG = re.compile(r"[a-z0-9]{2}", re.ASCII)

UNMOVABLE_FLAGS = frozenset({"io", "pf"})
"""VmFlags of memory that no migration touches: device memory (VM_IO) and raw frames (VM_PFNMAP)."""
HUGETLB_FLAG = "ht"
LOCKED_FLAG = "lo"
MIXED_FLAG = "mm"


@dataclass(frozen=True, slots=True)
class MappingDetail:
    """One mapping with its sizes in bytes and its VmFlags (two letters each)."""

    mapping: Mapping
    rss: int
    anonymous: int
    anon_huge: int
    shmem_huge: int
    file_huge: int
    shared_hugetlb: int
    private_hugetlb: int
    swap: int
    locked: int
    page_bytes: int
    flags: frozenset[str]

    @property
    def is_unmovable(self) -> bool:
        """Whether no page of it can be migrated, whatever is asked."""
        return bool(self.flags & UNMOVABLE_FLAGS)


@dataclass(frozen=True, slots=True)
class Rollup:
    """A process's sizes in bytes; `rss` is without hugetlb, which has two sums of its own."""

    rss: int
    pss: int
    anonymous: int
    anon_huge: int
    shmem_huge: int
    file_huge: int
    shared_hugetlb: int
    private_hugetlb: int
    swap: int
    locked: int


def _size(values: dict[str, int], key: str, source: str) -> int:
    try:
        return values[key]
    except KeyError as error:
        raise KernelFormatError(source, f"no {key}") from error


def _block(lines: list[str], source: str) -> tuple[dict[str, int], frozenset[str] | None]:
    """Return the sizes, in bytes, and the flags of the lines below a mapping's own."""
    values: dict[str, int] = {}
    flags: frozenset[str] | None = None
    for line in lines:
        size = _SIZE.fullmatch(line)
        if size is not None:
            values[size[1]] = int(size[2]) * _KIB
        elif line.startswith("VmFlags:"):
            flags = frozenset(line.removeprefix("VmFlags:").split())
            if not all(_FLAG.fullmatch(flag) for flag in flags):
                raise KernelFormatError(source, line)
        elif not _OTHER.fullmatch(line):
            raise KernelFormatError(source, line)
    return values, flags


def _blocks(text: str, source: str) -> Iterator[tuple[str, list[str]]]:
    """Cut the text into mapping lines, which begin with a lower-case hexadecimal digit, and what follows each."""
    if text and not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    head: str | None = None
    below: list[str] = []
    for line in text.split("\n")[:-1]:
        if line[:1] in "0123456789abcdef" and line:
            if head is not None:
                yield head, below
            head, below = line, []
        elif head is None:
            raise KernelFormatError(source, line)
        else:
            below.append(line)
    if head is not None:
        yield head, below


def parse(text: str, source: str = "smaps") -> Iterator[MappingDetail]:
    """Parse the content of smaps.

    Raises:
        KernelFormatError: a line of another form, or a key missing (VmFlags ends each mapping).
    """
    for head, lines in _blocks(text, source):
        values, flags = _block(lines, source)
        if flags is None:
            raise KernelFormatError(source, f"{head} without VmFlags")
        yield MappingDetail(
            mapping=parse_mapping(head, source),
            rss=_size(values, "Rss", source),
            anonymous=_size(values, "Anonymous", source),
            anon_huge=values.get("AnonHugePages", 0),
            shmem_huge=values.get("ShmemPmdMapped", 0),
            file_huge=values.get("FilePmdMapped", 0),
            shared_hugetlb=values.get("Shared_Hugetlb", 0),
            private_hugetlb=values.get("Private_Hugetlb", 0),
            swap=_size(values, "Swap", source),
            locked=_size(values, "Locked", source),
            page_bytes=_size(values, "KernelPageSize", source),
            flags=flags,
        )


def parse_rollup(text: str, source: str = "smaps_rollup") -> Rollup:
    """Parse the content of smaps_rollup; raises as `parse`."""
    blocks = list(_blocks(text, source))
    if len(blocks) != 1 or not blocks[0][0].endswith("[rollup]"):
        raise KernelFormatError(source, text[:80])
    values, _ = _block(blocks[0][1], source)
    return Rollup(
        rss=_size(values, "Rss", source),
        pss=_size(values, "Pss", source),
        anonymous=_size(values, "Anonymous", source),
        anon_huge=values.get("AnonHugePages", 0),
        shmem_huge=values.get("ShmemPmdMapped", 0),
        file_huge=values.get("FilePmdMapped", 0),
        shared_hugetlb=values.get("Shared_Hugetlb", 0),
        private_hugetlb=values.get("Private_Hugetlb", 0),
        swap=_size(values, "Swap", source),
        locked=_size(values, "Locked", source),
    )


def read_smaps(pid: int, root: Path = HOST) -> list[MappingDetail]:
    """Read the mappings of a process in detail; none for one without memory.

    Raises:
        ProcessGone: it does not exist (any more).
        Denied: no ptrace access.
        KernelFormatError: see `parse`.
    """
    return list(parse(read_process_text(root, pid, "smaps"), f"/proc/{pid}/smaps"))


def read_rollup(pid: int, root: Path = HOST) -> Rollup:
    """Read a process's sizes; raises as `read_smaps`, and ProcessGone for one without memory."""
    return parse_rollup(read_process_text(root, pid, "smaps_rollup"), f"/proc/{pid}/smaps_rollup")
