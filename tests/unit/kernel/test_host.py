"""What a host says of its nodes, memory and counters: on hosts as files, and on this one."""

import dataclasses
import os
from itertools import pairwise
from pathlib import Path

import pytest

from numaplace.kernel import frames, psi, swaps, sysfs, vmstat, zones
from numaplace.kernel.errors import KernelCallError, KernelFormatError, NoSuchFile
from numaplace.kernel.frames import FrameRange
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.kernel.swaps import SwapArea
from numaplace.model.ids import NodeId

GIB = 1 << 18  # in frames of 4 KiB

EVERY_HOST = ["one-node", "two-nodes", "eight-nodes-with-gaps", "memory-only-node", "cxl", "cpu-only-node"]


@pytest.mark.parametrize(
    ("name", "online", "with_cpus", "with_memory"),
    [
        ("one-node", {0}, {0}, {0}),
        ("two-nodes", {0, 1}, {0, 1}, {0, 1}),
        ("eight-nodes-with-gaps", {0, 1, 4, 5, 8, 9, 12, 13}, {0, 1, 4, 5, 8, 9, 12, 13}, {0, 1, 4, 5, 8, 9, 12, 13}),
        ("memory-only-node", {0, 1, 2}, {0, 1}, {0, 1, 2}),
        ("cxl", {0, 1, 2}, {0, 1}, {0, 1, 2}),
        ("cpu-only-node", {0, 1, 3}, {0, 1, 3}, {0, 3}),
    ],
)
def test_node_sets(hosts: Path, name: str, online: set[int], with_cpus: set[int], with_memory: set[int]) -> None:
    """Nodes with gaps, without CPUs and without memory are told apart."""
    sets = sysfs.read_node_sets(hosts / name)
    assert sets.online == online
    assert sets.with_cpus == with_cpus
    assert sets.with_memory == with_memory
    assert sets.online <= sets.possible


def test_distances_are_by_id_not_by_position(hosts: Path) -> None:
    """The row of a host with gaps has eight numbers: the fifth is node 8's."""
    distances = sysfs.read_distances(hosts / "eight-nodes-with-gaps")
    assert distances[NodeId(8)] == {0: 32, 1: 32, 4: 32, 5: 32, 8: 10, 9: 16, 12: 32, 13: 32}
    assert all(distances[node][node] == 10 for node in distances)


def test_distances_may_be_asymmetric(hosts: Path) -> None:
    """From 0 to 2 is not from 2 to 0."""
    distances = sysfs.read_distances(hosts / "memory-only-node")
    assert (distances[NodeId(0)][NodeId(2)], distances[NodeId(2)][NodeId(0)]) == (24, 28)


@pytest.mark.parametrize("row", ["", "10\n", "10 21 30\n", "10 x\n", "10 -1\n", "10 2_1\n", "10,21\n"])
def test_distance_row_of_another_form_is_refused(row: str) -> None:
    """A row that is shorter or longer than the online nodes cannot be attributed."""
    with pytest.raises(KernelFormatError):
        sysfs.parse_distances(row, frozenset({NodeId(0), NodeId(4)}))


def test_cpus_of_nodes(hosts: Path) -> None:
    """CPUs of a node in two runs, none of a memory-only one, all of the host."""
    assert sysfs.read_node_cpus(NodeId(1), hosts / "two-nodes") == {*range(8, 16), *range(24, 32)}
    assert sysfs.read_node_cpus(NodeId(2), hosts / "cxl") == frozenset()
    assert sysfs.read_online_cpus(hosts / "eight-nodes-with-gaps") == set(range(32))
    with pytest.raises(NoSuchFile):
        sysfs.read_node_cpus(NodeId(2), hosts / "cpu-only-node")


def test_memory_of_nodes_is_in_bytes(hosts: Path) -> None:
    """A node's memory, and zero for one without."""
    memory = sysfs.read_node_memory(NodeId(2), hosts / "cxl")
    assert (memory.total, memory.free) == (8 << 30, 6 << 30)
    assert sysfs.read_node_memory(NodeId(1), hosts / "cpu-only-node").total == 0


def test_no_cut_of_a_meminfo_passes(hosts: Path) -> None:
    """Cut within a line it is refused; cut between lines a needed key is missing or all are there."""
    text = (hosts / "cxl/sys/devices/system/node/node2/meminfo").read_text()
    for end in range(len(text)):
        if not text[:end].endswith("\n"):
            with pytest.raises(KernelFormatError):
                sysfs.parse_node_meminfo(text[:end])


@pytest.mark.parametrize(
    "text", ["Node 0 A: 1 kB\nNode 0 A: 1 kB\n", "A: 1 kB\n", "Node 0 A: 1 MB\n", "Node 0 A: x kB\n"]
)
def test_meminfo_of_another_form_is_refused(text: str) -> None:
    """Keys come once, with a node, in kB."""
    with pytest.raises(KernelFormatError):
        sysfs.parse_node_meminfo(text)


def test_huge_pools_by_size(hosts: Path) -> None:
    """Each size has its counts; a node without memory has no pools."""
    small, large = sysfs.read_huge_pools(NodeId(0), hosts / "two-nodes")
    assert small == sysfs.HugePool(2 << 20, 8, 6, 1)
    assert large == sysfs.HugePool(1 << 30, 0, 0, 0)
    assert sysfs.read_huge_pools(NodeId(1), hosts / "cpu-only-node") == ()


def test_settings_of_a_host(hosts: Path) -> None:
    """THP words; a setting that is not there is said to be missing."""
    assert sysfs.read_thp(hosts / "two-nodes") == sysfs.ThpSettings("always", "madvise", 2 << 20)
    assert sysfs.read_thp(hosts / "one-node").enabled == "madvise"
    with pytest.raises(NoSuchFile):
        sysfs.read_sysctl("vm/demotion", hosts / "two-nodes")
    with pytest.raises(ValueError, match="not a path"):
        sysfs.read_sysctl("../../etc/passwd", hosts / "two-nodes")


@pytest.mark.parametrize("text", ["", "always never\n", "[always] [never]\n", "[]\n", "always [nev\n"])
def test_setting_without_one_choice_is_refused(text: str) -> None:
    """Exactly one word is in brackets."""
    with pytest.raises(KernelFormatError):
        sysfs.chosen_word(text, "enabled")


def test_this_host_agrees_with_python() -> None:
    """On this kernel: the CPUs Python knows are on nodes, memory adds up, every node reads."""
    sets = sysfs.read_node_sets()
    on_nodes = {cpu for node in sets.online for cpu in sysfs.read_node_cpus(node)}
    assert os.sched_getaffinity(0) <= on_nodes == sysfs.read_online_cpus()
    for node in sets.with_memory:
        memory = sysfs.read_node_memory(node)
        assert 0 < memory.free < memory.total
        assert all(0 <= pool.free <= pool.total for pool in sysfs.read_huge_pools(node))
    distances = sysfs.read_distances()
    assert set(distances) == sets.online


def test_zones_give_headroom_above_the_high_watermark(hosts: Path) -> None:
    """Free pages below the high watermark are nobody's to fill."""
    found = zones.read_zones(hosts / "two-nodes")
    normal = next(zone for zone in found if (zone.node, zone.name) == (1, "Normal"))
    assert (normal.min, normal.low, normal.high) == (20000, 25000, 30000)
    assert (normal.spanned, normal.present, normal.start_pfn) == (8 * GIB, 8 * GIB, 8 * GIB)
    assert zones.headroom_pages(found, NodeId(1)) == normal.free - 30000
    assert zones.headroom_pages(found, NodeId(7)) == 0
    assert zones.Zone(NodeId(0), "x", 5, 1, 2, 9, 0, 0, 0, None).headroom == 0


def test_zones_without_pages_have_no_start(hosts: Path) -> None:
    """A node without memory has zones, but no frames."""
    found = zones.read_zones(hosts / "cpu-only-node")
    assert [zone.start_pfn for zone in found if zone.node == 1] == [None, None]


def test_no_cut_of_a_zoneinfo_passes_for_a_whole_node(hosts: Path) -> None:
    """A cut file is refused, or is cut where a zone was complete: a populated zone needs its start."""
    text = (hosts / "cxl/proc/zoneinfo").read_text()
    whole = zones.parse(text)
    for end in range(len(text)):
        try:
            part = zones.parse(text[:end])
        except KernelFormatError:
            continue
        assert part == whole[: len(part)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Node 1, zone   Normal", "Node x, zone   Normal"),
        ("        high     30000\n", ""),
        ("  pages free     1572864", "  pages free     many"),
        ("  start_pfn:           2097152\n", ""),
        ("  per-node stats\n", "per-node stats\n"),
    ],
)
def test_zoneinfo_of_another_form_is_refused(hosts: Path, old: str, new: str) -> None:
    """A zone whose values are missing or unreadable is refused, not taken for empty."""
    text = (hosts / "two-nodes/proc/zoneinfo").read_text()
    assert old in text
    with pytest.raises(KernelFormatError):
        zones.parse(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        ("one-node", [(1, 2 * GIB, 0)]),
        ("two-nodes", [(1, 8 * GIB, 0), (8 * GIB, 16 * GIB, 1)]),
        # Node 0 lies on both sides of node 1: spans overlap, memory blocks tell.
        ("cxl", [(0, 8 * GIB, 0), (8 * GIB, 16 * GIB, 1), (16 * GIB, 18 * GIB, 0), (1024 * GIB, 1032 * GIB, 2)]),
        ("cpu-only-node", [(1, 4 * GIB, 0), (4 * GIB, 8 * GIB, 3)]),
    ],
)
def test_frames_belong_to_nodes(hosts: Path, name: str, ranges: list[tuple[int, int, int]]) -> None:
    """Ranges are disjoint and ascending, by zones where those suffice, else by memory blocks."""
    found = frames.read_frame_ranges(hosts / name, 4096)
    assert [(r.start, r.end, r.node) for r in found] == ranges


@pytest.mark.parametrize("name", EVERY_HOST)
def test_frame_ranges_never_overlap(hosts: Path, name: str) -> None:
    """A frame is on one node at most."""
    found = frames.read_frame_ranges(hosts / name, 4096)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert {r.node for r in found} == sysfs.read_node_sets(hosts / name).with_memory


def test_block_of_two_nodes_is_nobodys() -> None:
    """A memory block that two nodes share is left out: its frames must be asked for one by one."""
    blocks = [(0, NodeId(0)), (1, NodeId(0)), (1, NodeId(1)), (2, NodeId(1)), (3, NodeId(1)), (5, NodeId(1))]
    assert frames.ranges_of_blocks(blocks, 10) == (
        FrameRange(0, 10, NodeId(0)),
        FrameRange(20, 40, NodeId(1)),
        FrameRange(50, 60, NodeId(1)),
    )


def test_overlap_inside_one_node_is_no_overlap() -> None:
    """Zones of one node may touch or overlap; of two nodes only touch."""

    def zone(node: int, start: int, spanned: int) -> zones.Zone:
        return zones.Zone(NodeId(node), "Normal", 0, 0, 0, 0, spanned, spanned, spanned, start)

    assert frames.ranges_of_zones([zone(0, 0, 10), zone(0, 5, 10), zone(1, 15, 5)]) == (
        FrameRange(0, 15, NodeId(0)),
        FrameRange(15, 20, NodeId(1)),
    )
    assert frames.ranges_of_zones([zone(0, 0, 10), zone(1, 9, 5)]) is None
    assert frames.ranges_of_zones([zone(0, 0, 100), zone(0, 10, 5), zone(1, 50, 5)]) is None


@pytest.mark.parametrize("size", ["0\n", "\n", "xyz\n", "fff\n"])
def test_block_size_that_is_none_is_refused(tmp_path: Path, size: str) -> None:
    """A block is a whole number of pages, above zero."""
    path = tmp_path / "sys/devices/system/memory/block_size_bytes"
    path.parent.mkdir(parents=True)
    path.write_text(size)
    with pytest.raises(KernelFormatError):
        frames.read_block_frames(tmp_path, 4096)


def test_zones_and_frames_of_this_host() -> None:
    """On this kernel: each node with memory has managed pages and frames."""
    found = zones.read_zones()
    with_memory = sysfs.read_node_sets().with_memory
    assert {zone.node for zone in found if zone.managed} == with_memory
    assert {r.node for r in frames.read_frame_ranges()} == with_memory
    try:
        blocks = frames.ranges_of_blocks(frames.read_blocks(), frames.read_block_frames())
    except KernelCallError as error:
        assert isinstance(error, NoSuchFile)  # noqa: PT017 - a kernel without memory blocks says just that
    else:
        assert {r.node for r in blocks} == with_memory
    assert sum(zone.managed for zone in found) * PAGE_BYTES <= os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES * 2


def test_counters_of_a_host(hosts: Path) -> None:
    """The migration and NUMA counters by name, and what was added between two readings."""
    values = vmstat.read_vmstat(hosts / "two-nodes")
    counters = vmstat.migration_counters(values)
    assert counters == vmstat.MigrationCounters(102464, 10, 200, 1, 133)
    later = vmstat.MigrationCounters(102464 + 512, 11, 201, 1, 135)
    assert later.since(counters) == vmstat.MigrationCounters(512, 1, 1, 0, 2)
    assert vmstat.numa_counters(values).numa_pages_migrated == 64


def test_counters_a_kernel_lacks_are_zero() -> None:
    """Without huge pages none can be split."""
    counters = vmstat.migration_counters(vmstat.parse("pgmigrate_success 3\npgmigrate_fail 1\n"))
    assert counters == vmstat.MigrationCounters(3, 1, 0, 0, 0)


@pytest.mark.parametrize("text", ["", "a", "a 1", "a 1\na 2\n", "a x\n", "a  1\n", "1a 1\n", "a 1\n\n", "a 1 2\n"])
def test_vmstat_of_another_form_is_refused(text: str) -> None:
    """Lines are a name and a number, each name once."""
    with pytest.raises(KernelFormatError):
        vmstat.parse(text)


def test_counters_of_this_host_only_grow() -> None:
    """Two readings of this kernel: nothing is taken back."""
    earlier = vmstat.read_vmstat()
    later = vmstat.read_vmstat()
    added = vmstat.migration_counters(later).since(vmstat.migration_counters(earlier))
    assert min(getattr(added, field.name) for field in dataclasses.fields(added)) >= 0
    assert vmstat.numa_counters(later).numa_hit >= vmstat.numa_counters(earlier).numa_hit


def test_pressure_lines(hosts: Path) -> None:
    """Averages are percent, totals µs; either line may be missing."""
    found = psi.read_pressure("memory", hosts / "two-nodes")
    assert found.some == psi.Stall(4.33, 3.55, 1.21, 6664453)
    assert found.full is not None
    assert found.full.total_us == 3793974
    only = psi.parse("some avg10=0.00 avg60=0.00 avg300=100.00 total=1\n")
    assert only == psi.Pressure(psi.Stall(0.0, 0.0, 100.0, 1), None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1",
        "many avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=0.0 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=0.00 avg60=0.00 total=1\n",
        "some avg10=nan avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n" * 2,
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\ntrailing\n",
    ],
)
def test_pressure_of_another_form_is_refused(text: str) -> None:
    """Each line once, every average with two decimals."""
    with pytest.raises(KernelFormatError):
        psi.parse(text)


def test_pressure_of_this_host_reads_or_is_unsupported() -> None:
    """A kernel with PSI answers with totals that grow; one without says that it has none."""
    if not Path("/proc/pressure").is_dir():
        with pytest.raises(NoSuchFile):
            psi.read_pressure("memory")
        return
    earlier, later = psi.read_pressure("memory").some, psi.read_pressure("memory").some
    assert earlier is not None
    assert later is not None
    assert later.total_us >= earlier.total_us


HEAD = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


def test_swap_areas_are_read() -> None:
    """Sizes are bytes, names unescaped; without swap there is the head alone."""
    assert swaps.parse(HEAD) == ()
    text = f"{HEAD}/dev/sda2                 partition\t1024\t\t0\t\t-2\n/a\\040b  file\t\t8\t\t4\t\t100\n"
    assert swaps.parse(text) == (SwapArea("/dev/sda2", 1 << 20, 0, -2), SwapArea("/a b", 8192, 4096, 100))


@pytest.mark.parametrize(
    "text", ["", "Filename\n", HEAD + "/dev/sda2 partition 1 0\n", HEAD + "/s file -1 0 0\n", HEAD + "/s file 1 0 0"]
)
def test_swaps_of_another_form_are_refused(text: str) -> None:
    """Cut, or with another column."""
    with pytest.raises(KernelFormatError):
        swaps.parse(text)


def test_khugepaged_and_demotion_are_read(tmp_path: Path) -> None:
    """Numbers and switches, which are written in two ways; what is neither is refused."""
    own = tmp_path / "sys/kernel/mm/transparent_hugepage/khugepaged"
    own.mkdir(parents=True)
    for name, text in (("defrag", "1\n"), ("pages_to_scan", "4096\n"), ("scan_sleep_millisecs", "10000\n")):
        (own / name).write_text(text)
    assert sysfs.read_khugepaged(tmp_path) == sysfs.Khugepaged(defrag=True, pages_to_scan=4096, sleep_ms=10_000)
    with pytest.raises(NoSuchFile):
        sysfs.read_demotion(tmp_path)
    demotion = tmp_path / "sys/kernel/mm/numa/demotion_enabled"
    demotion.parent.mkdir()
    for text, on in (("true\n", True), ("false\n", False)):
        demotion.write_text(text)
        assert sysfs.read_demotion(tmp_path) is on
    demotion.write_text("maybe\n")
    with pytest.raises(KernelFormatError):
        sysfs.read_demotion(tmp_path)
