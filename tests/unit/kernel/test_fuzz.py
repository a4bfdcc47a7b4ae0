"""Whatever text a parser is given, it returns or raises KernelFormatError, and nothing else.

Random text seldom gets past a parser's first check, so most of the examples are true kernel text with a part cut,
doubled or replaced.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.kernel import (
    cgroups,
    damon,
    fanotify,
    frames,
    inotify,
    maps,
    numa_maps,
    page_faults,
    procfs,
    psi,
    status,
    sysfs,
    trace_events,
    vmstat,
    zones,
)
from numaplace.kernel.errors import KernelFormatError
from numaplace.model.ids import NodeId

HOSTS = Path(__file__).parent / "hosts"
JOB = HOSTS / "two-nodes/proc/4242"
TRACE = (
    b"            bash-6512    [001] d..1.   811.692354: cgroup_attach_task: dst_root=3 dst_id=22 dst_level=1"
    b" dst_path=/kx y pid=6512 comm=bash\n"
    b"            bash-6512    [001] .....   811.692354: sys_sched_setaffinity(pid: 0x1, len: 0x2, user: 0x5)\n"
    b"            bash-6512    [001] .....   811.692354: sched_process_exit: comm=b pid=1 prio=120 group_dead=true\n"
    b"            bash-6512    [001] .....   811.692354: mm_migrate_pages: nr_succeeded=1 nr_failed=1"
    b" nr_thp_succeeded=2 nr_thp_failed=3 nr_thp_split=4 mode=M reason=r\n"
)
FAULT = b"          python-217     [000] d....    21.224907: page_fault_user: address=0x55bd ip=0x7f26 error_code=0x7\n"
REGION = b"       kdamond.0-231     [003] .....    31.000907: damon_aggregated: target_id=0 nr_regions=1 0-8192: 3 17\n"

TEXTS: dict[str, tuple[Callable[[str], object], str]] = {
    "numa_maps": (lambda text: list(numa_maps.parse(text)), (JOB / "numa_maps").read_text()),
    "maps": (lambda text: list(maps.parse(text)), (JOB / "maps").read_text()),
    "status": (status.parse_status, (JOB / "status").read_text()),
    "cgroup": (status.parse_cgroup_paths, "3:cpu,cpuacct:/a:b\n0::/x\n"),
    "mountinfo": (cgroups.parse_mounts, (HOSTS / "one-node/proc/self/mountinfo").read_text()),
    "numa_stat": (lambda text: cgroups.parse_numa_stat(text, 4096), "total=3 N0=3\nanon N0=1 N1=2\n"),
    "zoneinfo": (zones.parse, (HOSTS / "one-node/proc/zoneinfo").read_text()),
    "vmstat": (vmstat.parse, (HOSTS / "two-nodes/proc/vmstat").read_text()),
    "pressure": (psi.parse, (HOSTS / "two-nodes/proc/pressure/memory").read_text()),
    "meminfo": (sysfs.parse_node_meminfo, (HOSTS / "cxl/sys/devices/system/node/node2/meminfo").read_text()),
    "distance": (lambda text: sysfs.parse_distances(text, frozenset({NodeId(0), NodeId(4)})), "10 21\n"),
    "chosen": (lambda text: sysfs.chosen_word(text, "x"), "always [madvise] never\n"),
    "policy": (numa_maps.parse_policy, "interleave=relative|balancing:0-1,3"),
}
BYTES: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "stat": (procfs.parse_stat, (JOB / "stat").read_bytes()),
    "schedstat": (procfs.parse_schedstat, b"1 2 3\n"),
    "trace": (lambda data: [trace_events.parse_line(line) for line in data.split(b"\n")[:-1]], TRACE),
    "faults": (lambda data: page_faults.parse_faults(data.split(b"\n")), FAULT),
    "regions": (lambda data: damon.parse_regions(data.split(b"\n")), REGION),
    "lost": (trace_events.parse_lost, b"CPU:0 [LOST 12 EVENTS]"),
    "fanotify": (fanotify.decode, bytes.fromhex("18000000030018000200000000000000070000000a000000") * 2),
    "inotify": (inotify.decode, bytes.fromhex("0100000002000000000000000400000061626300") * 2),
}

# What makes parsers stumble: numbers Python would take, long ones, separators, signs and digits of other scripts.
MORSELS = [
    "_",
    "-",
    "+1",
    " ",
    "\n",
    "\t",
    "0x",
    "9" * 30,
    "9" * 5000,
    "=",
    ":",
    "/",
    "(",
    ")",
    "٣",
    "²",
    "\0",
    "\udcff",
    "[",
    "]",
    "kB",
    "N",
    ",",
]


@st.composite
def damaged(draw: st.DrawFn, whole: str) -> str:
    """Return a text with a slice of it replaced by another slice, a morsel or any text."""
    places = st.integers(0, len(whole))
    start, end = sorted((draw(places), draw(places)))
    if draw(st.booleans()):
        end = min(start + draw(st.integers(0, 3)), len(whole))
    cut, stop = sorted((draw(places), draw(places)))
    new = draw(st.one_of(st.sampled_from(MORSELS), st.just(whole[cut:stop]), st.text(max_size=20), st.just("")))
    return whole[:start] + new + whole[end:]


@pytest.mark.parametrize("name", sorted(TEXTS))
@given(data=st.data())
def test_text_is_read_or_refused(name: str, data: st.DataObject) -> None:
    """Damaged kernel text, and any text at all, is parsed or refused as a KernelFormatError."""
    parse, whole = TEXTS[name]
    parse(whole)
    text = data.draw(st.one_of(damaged(whole), damaged(whole), st.text()))
    try:
        parse(text)
    except KernelFormatError as error:
        assert str(error)  # noqa: PT017 - refusing is one of two good outcomes


@pytest.mark.parametrize("name", sorted(BYTES))
@given(data=st.data())
def test_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    """The same for what is parsed as bytes."""
    parse, whole = BYTES[name]
    parse(whole)
    mangled = damaged(whole.decode("latin-1")).map(lambda text: text.encode("latin-1", "replace"))
    try:
        parse(data.draw(st.one_of(mangled, mangled, st.binary())))
    except KernelFormatError as error:
        assert str(error)  # noqa: PT017 - refusing is one of two good outcomes


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3).map(NodeId))), st.integers(1, 1000))
def test_frame_ranges_of_any_blocks_are_disjoint_and_exact(blocks: list[tuple[int, NodeId]], block_frames: int) -> None:
    """A frame is attributed to a node if and only if its block is on that node alone."""
    ranges = frames.ranges_of_blocks(blocks, block_frames)
    assert list(ranges) == sorted(ranges)
    for block in range(31):
        nodes = {node for number, node in blocks if number == block}
        frame = block * block_frames
        found = [r.node for r in ranges if r.start <= frame < r.end]
        assert found == (list(nodes) if len(nodes) == 1 else [])
