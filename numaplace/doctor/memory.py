"""Rules on the memory that pages are to move to: huge pages, pools, free room, swap, and what reclaim does."""

from collections.abc import Iterator, Mapping

from numaplace.doctor.facts import Room
from numaplace.doctor.finding import Finding, State
from numaplace.doctor.rule import Rule, both, rule
from numaplace.kernel.swaps import SwapArea
from numaplace.kernel.sysfs import HugePool, Khugepaged, ThpSettings
from numaplace.model.ids import NodeId
from numaplace.model.policy import Budget

_MIB = 1 << 20
_SECONDS_MS = 1000
_STALLING = frozenset({"always"})
FEW_BLOCKS = 32
"""So many free huge blocks are gone after a moment of moving."""


def _mib(size_bytes: int) -> str:
    return f"{size_bytes // _MIB} MiB"


def _thp(thp: ThpSettings | None) -> Iterator[Finding]:
    if thp is None or thp.enabled == "never":
        words = "no transparent huge pages: every base page is moved on its own"
        remedy = "" if thp is None else "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        yield Finding("thp", State.NOTE, words, remedy)
        return
    yield Finding("thp", State.GOOD, f"transparent huge pages of {_mib(thp.page_bytes)}: {thp.enabled}")
    if thp.defrag in _STALLING:
        words = "a job that touches new memory waits for compaction (thp defrag is always), also after a move"
        remedy = "echo madvise > /sys/kernel/mm/transparent_hugepage/defrag"
        yield Finding("thp-defrag", State.WARNING, words, remedy)
    else:
        yield Finding("thp-defrag", State.GOOD, f"{thp.defrag}: memory is not compacted whenever one is touched")


def _khugepaged(khugepaged: Khugepaged | None) -> Iterator[Finding]:
    if khugepaged is None:
        yield Finding("khugepaged", State.NOTE, "no khugepaged: what was split stays split")
        return
    every = f"{khugepaged.pages_to_scan} pages every {khugepaged.sleep_ms / _SECONDS_MS:g} s"
    if khugepaged.pages_to_scan == 0:
        words = "khugepaged looks at no pages: huge pages that were split stay so"
        remedy = "echo 4096 > /sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan"
        yield Finding("khugepaged", State.NOTE, words, remedy)
    else:
        words = f"looks at {every}; a huge page that it makes lies where most of its pages lay"
        yield Finding("khugepaged", State.GOOD, words)


def _huge_blocks(told: tuple[Mapping[NodeId, int], ThpSettings | None]) -> Iterator[Finding]:
    blocks, thp = told
    if thp is None or thp.enabled == "never":
        return
    size = _mib(thp.page_bytes)
    listed = ", ".join(f"node {node}: {count}" for node, count in sorted(blocks.items()))
    few = sorted(node for node, count in blocks.items() if count < FEW_BLOCKS)
    if few:
        words = f"few free blocks of {size} ({listed}): huge pages that move there stay behind, or would be split"
        yield Finding("huge-blocks", State.WARNING, words, "echo 1 > /proc/sys/vm/compact_memory")
    else:
        yield Finding("huge-blocks", State.GOOD, f"free blocks of {size} ({listed})")


def _pools(pools: Mapping[NodeId, tuple[HugePool, ...]]) -> Iterator[Finding]:
    used = {(node, pool.page_bytes): pool for node, of_node in pools.items() for pool in of_node if pool.total}
    if not used:
        yield Finding("hugetlb", State.GOOD, "no hugetlb pools: nothing that could not follow for want of one")
        return
    listed = ", ".join(
        f"node {node}: {pool.free} of {pool.total} free of {_mib(size)}" for (node, size), pool in sorted(used.items())
    )
    taken = {size for (_, size), pool in used.items() if pool.free < pool.total}
    full = sorted({node for node in pools for size in taken if not _has_free(pools[node], size)})
    if full:
        words = f"hugetlb pages cannot move to nodes {', '.join(map(str, full))}, where none is free ({listed})"
        remedy = "raise nr_hugepages there (/sys/devices/system/node/nodeN/hugepages), or nr_overcommit_hugepages"
        yield Finding("hugetlb", State.WARNING, words, remedy)
    else:
        yield Finding("hugetlb", State.GOOD, listed)


def _has_free(pools: tuple[HugePool, ...], page_bytes: int) -> bool:
    return any(pool.free for pool in pools if pool.page_bytes == page_bytes)


def _headroom(rooms: Mapping[NodeId, Room]) -> Iterator[Finding]:
    wanted = Budget().headroom_bytes
    listed = ", ".join(f"node {node}: {_mib(room.above_high_bytes)}" for node, room in sorted(rooms.items()))
    marks = ", ".join(f"{_mib(room.min_bytes)} to {_mib(room.high_bytes)}" for _, room in sorted(rooms.items()))
    words = f"free above the high watermark ({listed}; min to high: {marks})"
    full = [node for node, room in rooms.items() if room.above_high_bytes < wanted]
    if full:
        remedy = "free memory there (echo 1 > /proc/sys/vm/drop_caches if it is page cache), or lower headroom"
        words = f"less than the {_mib(wanted)} that a move leaves are {words}"
        yield Finding("headroom", State.WARNING, words, remedy)
    else:
        yield Finding("headroom", State.GOOD, words)


def _swaps(swaps: tuple[SwapArea, ...]) -> Iterator[Finding]:
    size = sum(area.size_bytes for area in swaps)
    used = sum(area.used_bytes for area in swaps)
    if not used:
        yield Finding("swap", State.GOOD, f"{_mib(size)} of swap, nothing in it" if size else "no swap")
    else:
        words = "in use: what is swapped out cannot be moved, and comes back to wherever there is room"
        yield Finding("swap", State.NOTE, f"{_mib(used)} of {_mib(size)} swap {words}")


def _zone_reclaim(mode: int | None) -> Iterator[Finding]:
    if mode:
        words = f"{mode}: a full node drops its page cache, and makes its jobs wait, before another node gives memory"
        yield Finding("zone-reclaim", State.WARNING, words, "sysctl vm.zone_reclaim_mode=0")
    else:
        yield Finding("zone-reclaim", State.GOOD, "0: a node that is full lets memory be taken from others")


def _demotion(on: bool | None) -> Iterator[Finding]:  # noqa: FBT001 - the fact itself
    if on:
        words = "reclaim moves cold pages to slower nodes: they are counted as others' migrations"
        yield Finding("demotion", State.NOTE, words, "echo false > /sys/kernel/mm/numa/demotion_enabled, if not wanted")
    else:
        yield Finding("demotion", State.GOOD, "reclaim moves no pages to other nodes")


RULES: tuple[Rule, ...] = (
    rule("thp", lambda facts: facts.thp, _thp),
    rule("khugepaged", lambda facts: facts.khugepaged, _khugepaged),
    rule("huge-blocks", lambda facts: both(facts.huge_blocks, facts.thp), _huge_blocks),
    rule("hugetlb", lambda facts: facts.pools, _pools),
    rule("headroom", lambda facts: facts.rooms, _headroom),
    rule("swap", lambda facts: facts.swaps, _swaps),
    rule("zone-reclaim", lambda facts: facts.zone_reclaim, _zone_reclaim),
    rule("demotion", lambda facts: facts.demotion, _demotion),
)
