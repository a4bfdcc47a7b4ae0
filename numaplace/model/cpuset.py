"""The kernel's list format for CPUs and nodes, e.g. ``0-3,8`` or ``0-31:2/4``, read strictly and written canonically.

The format is that of cpuset(7), section "List format".
"""

import re
from collections.abc import Iterable, Sequence

from numaplace.model.ids import CpuId, Cpus, NodeId, Nodes

ID_MAX = 65_535
"""No kernel is built for more CPUs or nodes; a larger number is a mistake or an attack on our memory."""

NAMED_MAX = 4 * (ID_MAX + 1)
"""Ranges may overlap, but ``0-65535,0-65535,…`` would cost time without end."""

_ITEM = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9})/(\d{1,9}))?)?", re.ASCII)


def parse_id_list(text: str) -> frozenset[int]:
    """Read a kernel list; an empty or blank text is the empty set. Raises ValueError on anything else than a list."""
    text = text.strip()
    if not text:
        return frozenset()
    ids: set[int] = set()
    named = 0
    for item in text.split(","):
        part = _parse_item(item, text)
        named += len(part)
        if named > NAMED_MAX:
            raise ValueError(f"a list that names more than {NAMED_MAX} ids, some of them again and again")
        ids.update(part)
    return frozenset(ids)


def _parse_item(item: str, text: str) -> Sequence[int]:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ValueError(f"not a list of ids such as 0-3,8: {text[:80]!r}")
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    if first > last or last > ID_MAX:
        raise ValueError(f"a range that runs backwards or beyond {ID_MAX}: {item!r}")
    if match[3] is None:
        return range(first, last + 1)
    used, group = int(match[3]), int(match[4])
    if not 0 < used <= group:
        raise ValueError(f"a stride must use at least one and at most all of its group: {item!r}")
    return [i for i in range(first, last + 1) if (i - first) % group < used]


def format_id_list(ids: Iterable[int]) -> str:
    """Write ids as the kernel does: ascending, runs folded (``{0,1,2,8}`` is ``0-2,8``)."""
    runs: list[list[int]] = []
    for i in sorted(set(ids)):
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def parse_cpus(text: str) -> Cpus:
    """Read a kernel list as CPUs."""
    return frozenset(CpuId(i) for i in parse_id_list(text))


def parse_nodes(text: str) -> Nodes:
    """Read a kernel list as nodes."""
    return frozenset(NodeId(i) for i in parse_id_list(text))
