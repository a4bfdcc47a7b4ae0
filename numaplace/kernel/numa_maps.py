r"""Reader of /proc/PID/numa_maps: per mapping, its policy and its pages by node.

From fs/proc/task_mmu.c (show_numa_map) and mm/mempolicy.c (mpol_to_str), 6.1 to 7.2. Easily got wrong:

- Two policy names hold a blank: `prefer (many)` and `weighted interleave`.
- File names are escaped (`\040` for a blank), the ` (deleted)` of an unlinked file with them.
- Counts are in pages of `kernelpagesize_kB`, which is the base page for transparent huge pages, and the huge page for
  hugetlb. A mapping without pages has no counts and no page size.
- The kernel writes the policy into 64 bytes and cuts a longer node list: it is marked, its last number dropped.
- The file is empty for a task without memory, a zombie or a kernel thread.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, nodes_in, parse_int, read_process_text, unescape
from numaplace.kernel.policy import ModeFlag, PolicyMode
from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import NodeId, Nodes

_KIB = 1024
_POLICY_CHARS_MAX = 63
_PART_BYTES = 256
"""Two or three lines. The kernel walks as many mappings as one read has room for before it lets the mmap lock go."""
_DIGITS_MAX = 20  # of a 64-bit number
_DELETED = " (deleted)"

_MODES = {
    "default": PolicyMode.DEFAULT,
    "prefer": PolicyMode.PREFERRED,
    "bind": PolicyMode.BIND,
    "interleave": PolicyMode.INTERLEAVE,
    "local": PolicyMode.LOCAL,
    "prefer (many)": PolicyMode.PREFERRED_MANY,
    "weighted interleave": PolicyMode.WEIGHTED_INTERLEAVE,
}
_WORDS = {mode: word for word, mode in _MODES.items()}
_FLAGS = {
    "static": ModeFlag.STATIC_NODES,
    "relative": ModeFlag.RELATIVE_NODES,
    "balancing": ModeFlag.NUMA_BALANCING,
}
_COUNTS = frozenset({"anon", "dirty", "mapped", "mapmax", "swapcache", "active", "writeback"})


@dataclass(frozen=True, slots=True)
class MappingPolicy:
    """A mapping's memory policy; `nodes_cut` says that the kernel had no room for all the nodes."""

    mode: PolicyMode
    flags: ModeFlag = ModeFlag.NONE
    nodes: Nodes = frozenset()
    nodes_cut: bool = False

    def __str__(self) -> str:
        """As the kernel writes it; `…` stands for nodes that it had no room for."""
        flags = "|".join(word for word, flag in _FLAGS.items() if flag & self.flags) if self.flags else ""
        nodes = format_id_list(self.nodes) + ("…" if self.nodes_cut else "")
        return f"{_WORDS[self.mode]}{'=' if flags else ''}{flags}{':' if nodes else ''}{nodes}"


@dataclass(frozen=True, slots=True)
class NumaMapping:
    """One line of numa_maps; counts in pages of `page_bytes` (0 if the mapping has no pages)."""

    start: int
    policy: MappingPolicy
    file: str | None = None
    deleted: bool = False
    heap: bool = False
    stack: bool = False
    huge: bool = False
    anon: int = 0
    dirty: int = 0
    mapped: int = 0
    mapmax: int = 1
    swapcache: int = 0
    active: int | None = None
    writeback: int = 0
    pages_by_node: Mapping[NodeId, int] = field(default_factory=dict)
    page_bytes: int = 0

    @property
    def bytes_by_node(self) -> dict[NodeId, int]:
        """Resident bytes by node."""
        return {node: pages * self.page_bytes for node, pages in self.pages_by_node.items()}


def parse_line(line: str, source: str = "numa_maps") -> NumaMapping:
    """Parse one line, without its newline.

    Raises:
        KernelFormatError: it has another form. Unknown `key=value` fields of a newer kernel are passed over.
    """
    words = line.split(" ")
    if len(words) < 2:  # noqa: PLR2004 - address and policy
        raise KernelFormatError(source, line)
    start = parse_int(words[0], source, 16)
    policy, used = _take_policy(words, source)
    return _mapping(start, policy, words[used:], source, line)


def _take_policy(words: list[str], source: str) -> tuple[MappingPolicy, int]:
    """Return the policy and how many words it and the address took."""
    two_words = len(words) > 2 and f"{words[1]} {words[2]}".startswith(("prefer (many)", "weighted interleave"))  # noqa: PLR2004
    used = 3 if two_words else 2
    return parse_policy(" ".join(words[1:used]), source), used


@lru_cache(maxsize=256)
def parse_policy(text: str, source: str = "numa_maps") -> MappingPolicy:
    """Parse a policy as the kernel prints it: `mode[=flag[|flag]][:nodes]`; raises KernelFormatError."""
    described, colon, nodes = text.partition(":")
    name, equals, flag_names = described.partition("=")
    names = flag_names.split("|") if equals else []
    if name not in _MODES or not all(flag in _FLAGS for flag in names) or (colon and not nodes):
        raise KernelFormatError(source, text)
    flags = ModeFlag.NONE
    for flag in names:
        flags |= _FLAGS[flag]
    cut = len(text) == _POLICY_CHARS_MAX
    # The last number of a cut list may have lost digits, or stand before a range's other end: not to be trusted.
    kept = re.split(r"[,-][^,-]*\Z", nodes)[0] if cut else nodes
    return MappingPolicy(_MODES[name], flags, nodes_in(kept, source), cut)


def _mapping(start: int, policy: MappingPolicy, words: list[str], source: str, line: str) -> NumaMapping:
    flags: set[str] = set()
    counts: dict[str, int] = {}
    by_node: dict[NodeId, int] = {}
    file: str | None = None
    page_bytes = 0
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            if key not in {"heap", "stack", "huge"} or key in flags:
                raise KernelFormatError(source, line)
            flags.add(key)
        elif key == "file":
            file = unescape(value)
        elif key == "kernelpagesize_kB":
            page_bytes = _count(value, source, line) * _KIB
        elif key in _COUNTS:
            counts[key] = _count(value, source, line)
        elif key[:1] == "N" and key[1:].isdecimal():
            by_node[NodeId(_count(key[1:], source, line))] = _count(value, source, line)
        elif not key.isidentifier():
            raise KernelFormatError(source, line)
    if by_node and not page_bytes:
        # The page size ends every line that has pages: without it the line was cut.
        raise KernelFormatError(source, line)
    deleted = file is not None and file.endswith(_DELETED)
    name = file.removesuffix(_DELETED) if file is not None and deleted else file
    return NumaMapping(
        start=start,
        policy=policy,
        file=name,
        deleted=deleted,
        heap="heap" in flags,
        stack="stack" in flags,
        huge="huge" in flags,
        anon=counts.get("anon", 0),
        dirty=counts.get("dirty", 0),
        mapped=counts.get("mapped", 0),
        mapmax=counts.get("mapmax", 1),
        swapcache=counts.get("swapcache", 0),
        active=counts.get("active"),
        writeback=counts.get("writeback", 0),
        pages_by_node=by_node,
        page_bytes=page_bytes,
    )


def _count(text: str, source: str, line: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise KernelFormatError(source, line)
    return int(text)


def parse(text: str, source: str = "numa_maps") -> Iterator[NumaMapping]:
    """Parse the content of a numa_maps file, line by line; raises KernelFormatError."""
    if text and not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    return (parse_line(line, source) for line in text.split("\n")[:-1])


def read_numa_maps(pid: int, root: Path = HOST) -> list[NumaMapping]:
    """Read the mappings of a process with their policies and pages by node.

    The kernel walks the page tables for it, 63 ns a page, under the process's mmap lock: a thread that maps or unmaps
    meanwhile waits until the walk of the mapping that is being read has ended.

    Returns:
        The mappings in address order; none for a process without memory.

    Raises:
        ProcessGone: it does not exist (any more).
        Denied: no ptrace access.
        Unsupported: the kernel was built without NUMA.
        KernelFormatError: see `parse_line`.
    """
    return list(parse(read_process_text(root, pid, "numa_maps", _PART_BYTES), f"/proc/{pid}/numa_maps"))
