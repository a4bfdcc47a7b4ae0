"""numa_maps and maps: every documented form, cut, with trailing text, and of this process."""

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from numaplace.kernel import maps, mempolicy, numa_maps
from numaplace.kernel.errors import KernelFormatError, ProcessGone
from numaplace.kernel.numa_maps import MappingPolicy
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.kernel.policy import ModeFlag, PolicyMode
from numaplace.model.ids import NodeId


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("default", MappingPolicy(PolicyMode.DEFAULT)),
        ("local", MappingPolicy(PolicyMode.LOCAL)),
        ("prefer:1", MappingPolicy(PolicyMode.PREFERRED, nodes=frozenset({NodeId(1)}))),
        ("prefer (many):0-1", MappingPolicy(PolicyMode.PREFERRED_MANY, nodes=frozenset({NodeId(0), NodeId(1)}))),
        ("bind=static:0", MappingPolicy(PolicyMode.BIND, ModeFlag.STATIC_NODES, frozenset({NodeId(0)}))),
        (
            "interleave=relative|balancing:3",
            MappingPolicy(
                PolicyMode.INTERLEAVE, ModeFlag.RELATIVE_NODES | ModeFlag.NUMA_BALANCING, frozenset({NodeId(3)})
            ),
        ),
        ("weighted interleave:4", MappingPolicy(PolicyMode.WEIGHTED_INTERLEAVE, nodes=frozenset({NodeId(4)}))),
        ("bind=balancing:0", MappingPolicy(PolicyMode.BIND, ModeFlag.NUMA_BALANCING, frozenset({NodeId(0)}))),
    ],
)
def test_policy_words_are_those_of_the_kernel(text: str, policy: MappingPolicy) -> None:
    """All modes and flags that mpol_to_str prints, those of two words included, alone and before other fields."""
    assert numa_maps.parse_policy(text) == policy
    assert str(policy) == text
    assert numa_maps.parse_line(f"7f00 {text}").policy == policy
    line = numa_maps.parse_line(f"7f00 {text} anon=2 N0=2 kernelpagesize_kB=4")
    assert (line.policy, line.anon, line.pages_by_node) == (policy, 2, {0: 2})


def test_node_list_that_the_kernel_cut_is_marked() -> None:
    """The kernel has room for 63 characters: the last number of such a list is not believed, the others are."""
    nodes = ",".join(str(node) for node in range(0, 200, 2))
    text = f"interleave:{nodes}"[:63]
    policy = numa_maps.parse_policy(text)
    assert policy.nodes_cut
    assert policy.nodes < set(range(0, 200, 2))
    assert len(policy.nodes) >= 18


@pytest.mark.parametrize(
    "text", ["", "unknown-9", "bind:", "bind=:0", "bind=fixed:0", "bind:x", "prefer (many", "bind:1-0"]
)
def test_policy_of_another_form_is_refused(text: str) -> None:
    """An unknown mode or flag and an empty or broken list are refused, not taken for the default policy."""
    with pytest.raises(KernelFormatError):
        numa_maps.parse_policy(text)


def test_numa_maps_of_a_host(hosts: Path) -> None:
    """Every line of the captured job is read: names unescaped, counts by node, huge pages in their own size."""
    rows = {row.start: row for row in numa_maps.read_numa_maps(4242, hosts / "two-nodes")}
    assert len(rows) == 10
    assert rows[0x55A000000000].file == "/opt/my solver"
    assert not rows[0x55A000000000].deleted
    assert (rows[0x55A000400000].file, rows[0x55A000400000].deleted) == ("/opt/old", True)
    heap = rows[0x55A000800000]
    assert (heap.heap, heap.anon, heap.dirty, heap.active, heap.mapmax) == (True, 4, 4, 0, 1)
    assert heap.bytes_by_node == {0: 3 * 4096, 1: 4096}
    assert rows[0x7F0000000000].bytes_by_node == {0: 51200 * 4096}
    assert rows[0x7F0040000000].pages_by_node == {}
    weighted = rows[0x7F0050000000]
    assert (weighted.mapmax, weighted.swapcache, weighted.writeback) == (3, 1, 1)
    huge = rows[0x7F0060000000]
    assert (huge.huge, huge.page_bytes, huge.bytes_by_node) == (True, 2 << 20, {1: 16 << 20})
    assert rows[0x7FFC00000000].stack


def test_numa_maps_of_a_kernel_thread_is_empty(hosts: Path) -> None:
    """A task without memory has no mappings."""
    assert numa_maps.read_numa_maps(2, hosts / "two-nodes") == []


def test_no_cut_of_a_numa_maps_passes_for_more_than_it_is(hosts: Path) -> None:
    """Cut at a line's end it is a shorter file; cut anywhere else it is refused."""
    text = (hosts / "two-nodes/proc/4242/numa_maps").read_text()
    for end in range(len(text)):
        if text[:end].endswith("\n") or not end:
            assert len(list(numa_maps.parse(text[:end]))) == text[:end].count("\n")
        else:
            with pytest.raises(KernelFormatError):
                list(numa_maps.parse(text[:end]))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "7f00",
        "7f00 ",
        "0x7f00 default",
        "xyz default",
        "7f00 default heap heap",
        "7f00 default what",
        "7f00 default anon=x",
        "7f00 default anon=-1",
        "7f00 default N0=3",
        "7f00 default N0=1_0 kernelpagesize_kB=4",
        "7f00 default  anon=1 kernelpagesize_kB=4",
        "7f00 default anon=1 kernelpagesize_kB=4 ",
        "7f00 default anon=99999999999999999999999 kernelpagesize_kB=4",
    ],
)
def test_numa_maps_lines_of_another_form_are_refused(line: str) -> None:
    """Blanks too many, words unknown, numbers that are none, pages without their size."""
    with pytest.raises(KernelFormatError):
        numa_maps.parse_line(line)


def test_numa_maps_of_this_process_agrees_with_the_kernel() -> None:
    """Pages that were just touched are found, on the node that get_mempolicy names."""
    length = 64 * PAGE_BYTES
    with mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[:] = b"x" * length
        hold = ctypes.c_char.from_buffer(memory)
        start = ctypes.addressof(hold)
        # The kernel merges neighbouring mappings: the one that holds these pages begins at or before them.
        rows = numa_maps.read_numa_maps(os.getpid())
        row = max((row for row in rows if row.start <= start), key=lambda row: row.start)
        assert row.pages_by_node[NodeId(mempolicy.node_of(start))] > 0
        assert sum(row.bytes_by_node.values()) >= length
        mapping = next(found for found in maps.read_maps(os.getpid()) if found.start <= start < found.end)
        assert (mapping.readable, mapping.writable, mapping.shared, mapping.name) == (True, True, False, "")
        del hold


def test_maps_of_a_host(hosts: Path) -> None:
    """Names keep their blanks and newlines, deleted files are told, the last mapping of the address space is read."""
    rows = maps.read_maps(4242, hosts / "two-nodes")
    assert [row.name for row in rows] == [
        "/opt/my solver", "/opt/old", "[heap]", "", "/dev/zero", "[anon:a name]", "/dev/hugepages/x\ny", "[vsyscall]",
    ]  # fmt: skip
    assert [row.deleted for row in rows] == [False, True, False, False, True, False, False, False]
    assert (rows[0].offset, rows[0].device, rows[0].inode, rows[0].executable) == (0, (0xFE, 0), 18500, True)
    assert [row.shared for row in rows] == [False, False, False, False, True, False, True, False]
    assert rows[3].length_bytes == 512 << 20


def test_no_cut_of_a_maps_passes_for_more_than_it_is(hosts: Path) -> None:
    """Cut at a line's end it is a shorter file; cut anywhere else it is refused."""
    text = (hosts / "two-nodes/proc/4242/maps").read_text()
    for end in range(1, len(text)):
        if not text[:end].endswith("\n"):
            with pytest.raises(KernelFormatError):
                list(maps.parse(text[:end]))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1000-2000 rw-p 0 0:0",
        "2000-1000 rw-p 00000000 00:00 0 ",
        "1000-1000 rw-p 00000000 00:00 0 ",
        "1000-2000 rwzp 00000000 00:00 0 ",
        "1000-2000 rw-p 00000000 00:00 x ",
        "g000-2000 rw-p 00000000 00:00 0 ",
        "11111111111111111-2000 rw-p 00000000 00:00 0 ",
    ],
)
def test_maps_lines_of_another_form_are_refused(line: str) -> None:
    """A range that is none, permissions unknown, numbers that are none."""
    with pytest.raises(KernelFormatError):
        maps.parse_line(line)


def test_gone_process_has_no_mappings_to_read(gone: int) -> None:
    """All readers say that the process is gone."""
    for reader in (numa_maps.read_numa_maps, maps.read_maps):
        with pytest.raises(ProcessGone):
            reader(gone)


def test_zombie_has_no_mappings(zombie: int) -> None:
    """A process without memory has none."""
    assert numa_maps.read_numa_maps(zombie) == []
    assert maps.read_maps(zombie) == []
